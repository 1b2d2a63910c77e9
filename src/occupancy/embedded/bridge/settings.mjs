// The session settings of one client, as SQL that brings them back when its next turn comes.
import { callsSetConfig, isForTransactionOnly, isSetToDefault, settingReset, settingSet } from './sql.mjs'

export class Settings {
  #id
  #profile
  #session
  #current = { sets: new Map(), unknown: false } // unknown: changed in a way that the SQL does not show
  #committed = this.#current

  constructor(id, profile, session) {
    this.#id = id
    this.#profile = profile
    this.#session = session
  }

  // Equal for two clients only if their sessions would be.
  get key() {
    const { sets, unknown } = this.#current
    return sets.size || unknown ? `client ${this.#id}` : this.#profile
  }

  get sql() {
    return this.#profile + [...this.#current.sets.values()].join('')
  }

  // A command of this client succeeded.
  observe(command, sql) {
    if (command === 'RESET' || command === 'DISCARD' || isSetToDefault(sql)) this.#reset(settingReset(sql))
    else if (command === 'SET' || callsSetConfig(sql)) this.#set(settingSet(sql), sql)
  }

  // No transaction is open any more.
  endTransaction(rolledBack) {
    if (this.#current === this.#committed) return
    if (rolledBack) {
      this.#current = this.#committed
      this.#session.forgetSettings()
    } else {
      this.#committed = this.#current
    }
  }

  clear() {
    this.#current = { sets: new Map(), unknown: false }
    this.#session.forgetSettings()
  }

  #set(name, sql) {
    if (isForTransactionOnly(sql)) return
    const sets = new Map(this.#current.sets)
    if (name) sets.set(name, sql.replace(/;?\s*$/, ';'))
    this.#current = { sets, unknown: true }
    this.#session.holds(this)
  }

  // The backend goes back to PGlite's defaults, which are not ours: so the next turn applies everything anew.
  #reset(name) {
    if (!name) return this.clear()
    const sets = new Map(this.#current.sets)
    sets.delete(name)
    this.#current = { ...this.#current, sets }
    this.#session.forgetSettings()
  }
}
