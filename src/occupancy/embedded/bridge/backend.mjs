// The one PostgreSQL backend: protocol messages in, protocol messages out.
import {
  EMPTY, TERMINATE, errorText, firstColumn, messagesIn, password, query, startupMessage, stringsIn, typeOf,
} from './protocol.mjs'

export class Backend {
  parameters = new Map() // what it reported at its start: server_version, DateStyle, ...
  onCrash = (error) => {
    throw error
  }
  lastUse = performance.now()
  stopped = false
  #cluster
  #wasm
  #input = EMPTY
  #output = []

  constructor(cluster) {
    this.#cluster = cluster
    this.#wasm = cluster.Module
    this.#connectBuffers()
    this.#shakeHands()
    this.#loadTimescale()
  }

  // Runs messages to their end and returns the answers. Nothing else happens in this process meanwhile.
  exchange(...messages) {
    if (this.stopped) return EMPTY
    this.#input = joined(messages)
    this.#output = []
    try {
      this.#wasm._interactive_one(this.#input.length, this.#input[0])
    } catch (error) {
      this.stopped = true
      this.onCrash(error)
      return EMPTY
    }
    this.lastUse = performance.now()
    return joined(this.#output)
  }

  // Runs SQL of the bridge's own. Returns the error's text, undefined if there was none.
  run(sql) {
    const answers = [...messagesIn(this.exchange(query(sql)))]
    const error = answers.find((answer) => typeOf(answer) === 'E')
    return error && errorText(error)
  }

  // The first column of the first row, null without one.
  value(sql) {
    const answers = [...messagesIn(this.exchange(query(sql)))]
    const row = answers.find((answer) => typeOf(answer) === 'D')
    return row ? firstColumn(row) : null
  }

  async close() {
    if (this.stopped) return
    this.stopped = true
    this.#input = TERMINATE // what the backend reads when PGlite tells it to go
    await this.#cluster.close()
  }

  // PGlite's own execProtocolRaw() is of no use here: it parses every row in JavaScript and keeps what it parsed for
  // ever, and it returns a view of memory that the next call overwrites.
  #connectBuffers() {
    const read = (pointer, capacity) => {
      const taken = this.#input.subarray(0, capacity)
      this.#wasm.HEAPU8.set(taken, pointer)
      this.#input = this.#input.subarray(taken.length)
      return taken.length
    }
    const write = (pointer, length) => {
      this.#output.push(Buffer.from(this.#wasm.HEAPU8.subarray(pointer, pointer + length)))
      return length
    }
    this.#wasm._set_read_write_cbs(this.#wasm.addFunction(read, 'iii'), this.#wasm.addFunction(write, 'iii'))
  }

  // Once, for the parameters that every client is told. PGlite asks for a password and takes any but an empty one.
  #shakeHands() {
    const answers = [...messagesIn(this.exchange(startupMessage('postgres'))), ...messagesIn(this.exchange(password('any')))]
    for (const answer of answers) {
      if (typeOf(answer) !== 'S') continue
      const [name, value] = stringsIn(answer)
      this.parameters.set(name, value)
    }
    if (!this.parameters.has('server_version')) throw new Error('PGlite refused the start-up handshake')
  }

  // It is not preloaded, so its planner hooks would be absent until something calls one of its functions.
  #loadTimescale() {
    const error = this.run("LOAD 'timescaledb'")
    if (error) throw new Error(`cannot load TimescaleDB: ${error}`)
  }
}

function joined(buffers) {
  return buffers.length === 1 ? buffers[0] : Buffer.concat(buffers)
}
