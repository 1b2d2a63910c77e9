// The prepared statements and portals of one client. All clients share the names of one backend, so each gets a prefix.
import { closeStatement } from './protocol.mjs'

export class Statements {
  names = new Set() // as the backend knows them
  #prefix
  #sql = new Map()
  #portals = new Map()

  constructor(clientId) {
    this.#prefix = `c${clientId}.`
  }

  nameInBackend(name) {
    return this.#prefix + name
  }

  prepare(name, sql) {
    this.names.add(this.nameInBackend(name))
    this.#sql.set(name, sql)
  }

  bind(portal, statement) {
    this.#portals.set(portal, this.#sql.get(statement) ?? '')
  }

  close(name) {
    this.names.delete(this.nameInBackend(name))
    this.#sql.delete(name)
  }

  // Forgets all of them; returns the messages that make the backend do the same.
  closeAll() {
    const messages = [...this.names].map(closeStatement)
    this.names.clear()
    this.#sql.clear()
    return messages
  }

  sqlOfPortal(portal) {
    return this.#portals.get(portal) ?? ''
  }
}
