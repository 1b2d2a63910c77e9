// One connection: from bytes to requests that wait for their turn.
import { randomInt } from 'node:crypto'
import { Framer } from './framer.mjs'
import {
  authenticationOk, backendKeyData, errorResponse, parameterStatus, readyForQuery, typeOf,
} from './protocol.mjs'
import { Requests } from './requests.mjs'
import { Settings } from './settings.mjs'
import { Startup, asksForCancel, asksForEncryption, cancelledClient, isProtocol3 } from './startup.mjs'
import { Statements } from './statements.mjs'

const NOT_ENCRYPTED = Buffer.from('N')

export class Client {
  static #lastId = 0

  id = ++Client.#lastId
  secret = randomInt(1, 2 ** 31)
  queue = [] // complete messages not yet handled
  channels = new Set() // that it listens to
  statements = new Statements(this.id)
  requests
  settings // known once the start-up is over
  #socket
  #turns
  #session
  #database
  #framer = new Framer()
  #refused = false // its request was refused: what is left of it is skipped

  constructor(socket, turns, session, database) {
    this.#socket = socket
    this.#turns = turns
    this.#session = session
    this.#database = database
    this.requests = new Requests(this, session, turns)
    socket.setNoDelay(true)
    socket.on('data', (chunk) => this.#receive(chunk))
    socket.on('error', () => {}) // a close event follows
    socket.on('close', () => turns.leave(this))
  }

  send(bytes) {
    if (bytes.length && this.#socket.writable) this.#socket.write(bytes)
  }

  hangUp() {
    this.#socket.end()
  }

  end(farewell) {
    this.queue = []
    if (this.#socket.writable) this.#socket.end(farewell)
    else this.#socket.destroy()
  }

  // Answers a request with an error, if nothing of it has reached the backend yet.
  refuse(code, reason) {
    if (!this.#turns.withdraw(this)) return
    this.send(errorResponse('ERROR', code, reason))
    this.#refused = true
    for (const message of this.queue.splice(0)) this.#enqueue(message)
    this.#turns.wake(this)
  }

  #receive(chunk) {
    try {
      for (const message of this.#framer.push(chunk)) {
        if (this.#framer.typed) this.#enqueue(message)
        else this.#startUp(message)
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      this.#socket.destroy() // not the protocol
      return
    }
    this.#turns.wake(this)
  }

  #enqueue(message) {
    if (this.#refused) this.#skip(message)
    else this.queue.push(message)
  }

  // A refused request is over with its Sync, or with itself if it is a simple query.
  #skip(message) {
    const type = typeOf(message)
    if (type === 'X') this.hangUp()
    if (type !== 'S' && type !== 'Q') return
    this.#refused = false
    this.send(readyForQuery('I'))
  }

  #startUp(message) {
    if (asksForEncryption(message)) this.send(NOT_ENCRYPTED)
    else if (asksForCancel(message)) this.#cancelOther(message)
    else if (isProtocol3(message)) this.#welcome(new Startup(message))
    else this.end(errorResponse('FATAL', '0A000', 'unsupported protocol version'))
  }

  #cancelOther(message) {
    const { id, secret } = cancelledClient(message)
    this.#turns.cancel(id, secret)
    this.hangUp()
  }

  #welcome(startup) {
    this.#framer.typed = true
    if (startup.database !== this.#database) {
      const text = `database "${startup.database}" does not exist (there is only "${this.#database}")`
      return this.end(errorResponse('FATAL', '3D000', text))
    }
    this.settings = new Settings(this.id, startup.profile, this.#session)
    this.#turns.enter(this)
    const report = [...startup.report(this.#session.parameters)]
    const parameters = report.map(([name, value]) => parameterStatus(name, value))
    this.send(Buffer.concat([authenticationOk(), ...parameters, backendKeyData(this.id, this.secret), readyForQuery('I')]))
  }
}
