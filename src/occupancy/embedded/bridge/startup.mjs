// The first message of a connection.
import { PROTOCOL_3_0, stringsIn } from './protocol.mjs'
import { quoteIdentifier, quoteLiteral } from './sql.mjs'

export const SUPERUSER = 'postgres'
const SSL_REQUEST = 80877103
const GSS_REQUEST = 80877104
const CANCEL_REQUEST = 80877102
const FIRST_PARAMETER = 8 // after the length and the code
const NOT_SETTINGS = new Set(['user', 'database', 'options', 'replication'])

const codeOf = (message) => message.readInt32BE(4)
export const asksForEncryption = (message) => [SSL_REQUEST, GSS_REQUEST].includes(codeOf(message))
export const asksForCancel = (message) => codeOf(message) === CANCEL_REQUEST
export const isProtocol3 = (message) => codeOf(message) >> 16 === PROTOCOL_3_0 >> 16
export const cancelledClient = (message) => ({ id: message.readInt32BE(8), secret: message.readInt32BE(12) })

export class Startup {
  #settings = new Map()

  constructor(message) {
    const given = readPairs(message)
    this.user = given.get('user') ?? SUPERUSER
    this.database = given.get('database') ?? this.user
    for (const [name, value] of [...given, ...readOptions(given.get('options') ?? '')]) {
      if (!NOT_SETTINGS.has(name) && !name.startsWith('_pq_.')) this.#settings.set(name, value)
    }
  }

  // SQL that gives a session with default settings what this client asked for.
  get profile() {
    const settings = [...this.#settings].map(
      ([name, value]) => `SELECT pg_catalog.set_config(${quoteLiteral(name)}, ${quoteLiteral(value)}, false);`,
    )
    const user = this.user === SUPERUSER ? '' : `SET SESSION AUTHORIZATION ${quoteIdentifier(this.user)};`
    return settings.join('') + user
  }

  // What to tell the client about the session that it will get.
  report(parameters) {
    const report = new Map(parameters)
    report.set('TimeZone', 'UTC')
    report.set('session_authorization', this.user)
    report.set('is_superuser', this.user === SUPERUSER ? 'on' : 'off')
    const exactNames = new Map([...report.keys()].map((name) => [name.toLowerCase(), name]))
    for (const [name, value] of this.#settings) {
      const exactName = exactNames.get(name.toLowerCase())
      if (exactName) report.set(exactName, value)
    }
    return report
  }
}

function readPairs(message) {
  const strings = stringsIn(message, FIRST_PARAMETER)
  const pairs = new Map()
  for (let i = 0; i + 1 < strings.length && strings[i]; i += 2) pairs.set(strings[i], strings[i + 1])
  return pairs
}

// The command line in the parameter "options": -c name=value or --name=value, a blank escaped by a backslash.
function readOptions(options) {
  const found = options.matchAll(/(?:-c\s*|--)([\w.]+)=((?:\\.|\S)*)/g)
  return [...found].map(([, name, value]) => [name, value.replace(/\\(.)/g, '$1')])
}
