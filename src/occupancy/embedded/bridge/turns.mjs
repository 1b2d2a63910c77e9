// Who has the session. A client has it from its first message until the backend says that it is ready and no
// transaction is open. The others wait in line, first come first served.
//
// Kept apart for each client: names of prepared statements, user, SET values, LISTEN channels. Shared by all of them:
// temporary tables, session-level advisory locks, SQL's PREPARE.
import { closeStatement, errorResponse } from './protocol.mjs'
import { quoteIdentifier } from './sql.mjs'

const SLICE_MS = 10 // how long requests are served before the sockets get the event loop

export class Turns {
  #session
  #checkpoints
  #maxWaitMs
  #clients = new Set()
  #line = []
  #owner = null
  #scheduled = false
  #abandonedStatements = []
  #channelsChanged = false

  constructor(session, checkpoints, maxWaitMs) {
    this.#session = session
    this.#checkpoints = checkpoints
    this.#maxWaitMs = maxWaitMs
  }

  enter(client) {
    this.#clients.add(client)
  }

  // The client sent something, or has something left to be served.
  wake(client) {
    if (!this.#clients.has(client)) return // turned away at its start-up, or gone
    const waits = this.#owner !== client
    if (waits && (!client.queue.length || this.#line.includes(client))) return
    if (waits) this.#line.push(client)
    this.#schedule()
  }

  // Takes a client out of the line; false if it was not in it.
  withdraw(client) {
    const place = this.#line.indexOf(client)
    if (place >= 0) this.#line.splice(place, 1)
    return place >= 0
  }

  // The client disconnected, perhaps in the middle of a transaction.
  leave(client) {
    if (!this.#clients.delete(client)) return
    this.withdraw(client)
    this.#abandonedStatements.push(...client.statements.names)
    this.#channelsChanged ||= client.channels.size > 0
    if (this.#session.stopped) return
    if (this.#owner === client) {
      client.queue = []
      client.requests.abandon()
      this.#release()
    }
    if (!this.#clients.size) this.#renewSession()
    this.#schedule()
  }

  // A running query holds up this whole process, so only a client that waits in line can be cancelled.
  cancel(id, secret) {
    const client = [...this.#clients].find((one) => one.id === id && one.secret === secret)
    client?.refuse('57014', 'canceling statement due to user request')
  }

  notify(channel, notification) {
    for (const client of this.#clients) if (client.channels.has(channel)) client.send(notification)
  }

  // A client gave up a channel: the session may still need it for another one.
  channelsChanged() {
    this.#channelsChanged = true
  }

  tick() {
    if (this.#session.stopped) return
    if (this.#owner) this.#refuseAfterMaxWait()
    else this.#checkpoints.perhaps()
  }

  disconnectAll(farewell) {
    for (const client of this.#clients) client.end(farewell)
  }

  close(farewell) {
    for (const client of [...this.#clients]) {
      client.end(farewell)
      this.leave(client)
    }
    this.#checkpoints.now()
  }

  #schedule() {
    if (this.#scheduled || this.#session.stopped) return
    this.#scheduled = true
    setImmediate(() => this.#serve())
  }

  #serve() {
    this.#scheduled = false
    const end = performance.now() + SLICE_MS
    while (performance.now() < end && !this.#session.stopped) {
      if (!this.#owner && !this.#giveTurn()) return
      const request = this.#owner.queue.shift()
      if (!request) return // its next message wakes this up
      this.#owner.requests.handle(request)
      if (this.#owner.requests.settled && !this.#session.inTransaction) this.#release()
    }
    this.#schedule()
  }

  // False if nobody waits.
  #giveTurn() {
    this.#checkpoints.perhaps()
    while (this.#line.length) {
      const client = this.#line.shift()
      const error = this.#session.apply(client.settings)
      if (!error) {
        this.#owner = client
        return true
      }
      client.end(errorResponse('FATAL', '28000', error))
    }
    return false
  }

  #release() {
    for (const name of this.#abandonedStatements.splice(0)) this.#session.exchange(closeStatement(name))
    if (this.#channelsChanged) this.#listenAgain()
    const client = this.#owner
    this.#owner = null
    this.wake(client)
  }

  // The session listens to whatever any client listens to.
  #listenAgain() {
    this.#channelsChanged = false
    const channels = new Set([...this.#clients].flatMap((client) => [...client.channels]))
    for (const channel of channels) this.#session.run(`LISTEN ${quoteIdentifier(channel)}`)
  }

  #renewSession() {
    this.#session.renew()
    this.#abandonedStatements = []
    this.#channelsChanged = false
  }

  #refuseAfterMaxWait() {
    if (!this.#maxWaitMs || this.#owner.queue.length || this.#session.idleMs <= this.#maxWaitMs) return
    const reason =
      `another connection's transaction has been idle for ${this.#maxWaitMs / 1000} s ` +
      '(the embedded database has one session, which connections use by turns)'
    for (const client of [...this.#line]) client.refuse('55P03', reason)
  }
}
