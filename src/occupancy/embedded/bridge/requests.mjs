// What a client asks for while it is its turn: passed on to the backend, and the answers back.
import {
  FAIL, SYNC, afterString, commandComplete, copyFail, copyInResponse, firstByteOf, message, messagesIn, query,
  readyForQuery, stringAt, typeOf,
} from './protocol.mjs'
import { cleanupCommand, isBinaryCopy, listenCommands, mayCopyIn, startsWithCopyIn } from './sql.mjs'

const STATEMENT = 'S'
const STATEMENT_KIND = Buffer.from(STATEMENT)
const STATEMENT_NAME = 6 // where it starts in Describe and Close
const CHANNEL = 9 // where it starts in a notification
const ONLY_ALONE = copyFail('the embedded database takes COPY FROM STDIN only as a simple query of one statement')

export class Requests {
  settled = true // nothing was sent to the backend since its last ReadyForQuery
  #client
  #session
  #turns
  #onlyPrepares = true // or nothing but Parse, Describe and Close, and without error
  #failed = false // the last command ended in an error or was a ROLLBACK
  #copy = null // the messages of a COPY FROM STDIN so far

  constructor(client, session, turns) {
    this.#client = client
    this.#session = session
    this.#turns = turns
  }

  handle(request) {
    if (this.#copy) return this.#collectCopy(request)
    switch (typeOf(request)) {
      case 'X': return this.#client.hangUp()
      case 'd': case 'c': case 'f': return undefined // left over from a COPY that failed
      case 'Q': return this.#simpleQuery(request)
      case 'P': return this.#parse(request)
      case 'B': return this.#bind(request)
      case 'D': return this.#describe(request)
      case 'C': return this.#close(request)
      case 'E': return this.#execute(request)
      case 'H': return this.#flush(request)
      default: return this.#forward(request)
    }
  }

  // The client is gone: undo what it did not finish.
  abandon() {
    this.#copy = null
    if (!this.settled) {
      this.#observe(this.#session.exchange(FAIL))
      this.#observe(this.#session.exchange(SYNC))
    }
    if (this.#session.inTransaction) this.#observe(this.#session.exchange(query('ROLLBACK')))
  }

  #simpleQuery(request) {
    const sql = stringAt(request)
    if (startsWithCopyIn(sql)) return this.#startCopy(request, sql)
    const cleanup = cleanupCommand(sql)
    if (cleanup && !this.#session.inTransaction) return this.#cleanUp(cleanup)
    return this.#forward(guardCopy(request, sql), sql)
  }

  #parse(request) {
    const afterName = afterString(request)
    const name = stringAt(request)
    const { statements } = this.#client
    const nameInBackend = statements.nameInBackend(name)
    // A client may replace its unnamed statement at any time. In the backend it has a name, so it is closed first.
    if (name === '') this.#session.exchange(message('C', STATEMENT_KIND, nameInBackend))
    statements.prepare(name, stringAt(request, afterName))
    this.#prepare(message('P', nameInBackend, request.subarray(afterName)))
  }

  #bind(request) {
    const afterPortal = afterString(request)
    const afterStatement = afterString(request, afterPortal)
    const portal = stringAt(request)
    const statement = stringAt(request, afterPortal)
    const { statements } = this.#client
    statements.bind(portal, statement)
    this.#forward(message('B', portal, statements.nameInBackend(statement), request.subarray(afterStatement)))
  }

  #describe(request) {
    this.#prepare(this.#renamed(request))
  }

  #close(request) {
    if (firstByteOf(request) === STATEMENT) this.#client.statements.close(stringAt(request, STATEMENT_NAME))
    this.#prepare(this.#renamed(request))
  }

  #execute(request) {
    const sql = this.#client.statements.sqlOfPortal(stringAt(request))
    this.#forward(guardCopy(request, sql), sql)
  }

  // asyncpg ends the preparation of a statement with Flush and not with Sync. Without a Sync of our own it would keep
  // its turn until it comes back to execute, which may be never.
  #flush(request) {
    this.#prepare(request)
    if (this.#onlyPrepares && !this.#session.inTransaction) this.#observe(this.#session.exchange(SYNC))
  }

  // Describe and Close name either a statement or a portal.
  #renamed(request) {
    if (firstByteOf(request) !== STATEMENT) return request
    const name = this.#client.statements.nameInBackend(stringAt(request, STATEMENT_NAME))
    return message(typeOf(request), STATEMENT_KIND, name)
  }

  #forward(request, sql = '') {
    this.#onlyPrepares = false
    this.#prepare(request, sql)
  }

  #prepare(request, sql = '') {
    this.settled = false
    this.#client.send(this.#observe(this.#session.exchange(request), sql))
  }

  // ---------------------------------------------------------------- COPY FROM STDIN

  // The backend cannot wait for input. So the client's data are collected first and given to it all at once.
  #startCopy(request, sql) {
    this.settled = false
    this.#onlyPrepares = false
    this.#copy = [request]
    this.#client.send(copyInResponse(isBinaryCopy(sql)))
  }

  #collectCopy(request) {
    const type = typeOf(request)
    if (type === 'X') this.#client.hangUp()
    else if (type === 'd') this.#copy.push(request)
    else if (type === 'c' || type === 'f') this.#finishCopy(request)
  }

  #finishCopy(request) {
    const requests = [...this.#copy, request]
    this.#copy = null
    const answers = [...messagesIn(this.#session.exchange(...requests))]
    const withoutInvitation = answers.filter((answer) => typeOf(answer) !== 'G') // the client had ours
    this.#client.send(this.#observe(Buffer.concat(withoutInvitation), stringAt(requests[0])))
  }

  // ---------------------------------------------------------------- DISCARD ALL, DEALLOCATE ALL

  // The backend's own would take away what belongs to the other clients.
  #cleanUp(command) {
    for (const close of this.#client.statements.closeAll()) this.#session.exchange(close)
    if (command === 'DISCARD ALL') {
      this.#client.settings.clear()
      this.#client.settings.endTransaction(false)
      this.#client.channels.clear()
    }
    this.#client.send(Buffer.concat([commandComplete(command), readyForQuery(this.#session.transactionStatus)]))
  }

  // ---------------------------------------------------------------- answers

  // Learns from what the backend answered; returns the part of it that the client gets.
  #observe(answers, sql = '') {
    const kept = []
    let hidden = 0
    for (const answer of messagesIn(answers)) {
      if (this.#isForClient(answer, sql)) kept.push(answer)
      else hidden += answer.length
    }
    return hidden ? Buffer.concat(kept) : answers
  }

  #isForClient(answer, sql) {
    switch (typeOf(answer)) {
      case 'Z': this.#readyForQuery(answer); break
      case 'E': this.#onlyPrepares = false; this.#failed = true; break
      case 'C': this.#completed(stringAt(answer), sql); break
      case 'N': return !isNoticeOfPGlite(answer)
      case 'A': this.#turns.notify(stringAt(answer, CHANNEL), answer); return false
    }
    return true
  }

  #readyForQuery(answer) {
    this.#session.transactionStatus = firstByteOf(answer)
    this.settled = true
    this.#onlyPrepares = true
    if (!this.#session.inTransaction) this.#client.settings.endTransaction(this.#failed)
    this.#failed = false
  }

  #completed(tag, sql) {
    const command = tag.split(' ')[0]
    this.#failed = command === 'ROLLBACK'
    this.#client.settings.observe(command, sql)
    if (command === 'LISTEN' || command === 'UNLISTEN') this.#listen(sql)
  }

  #listen(sql) {
    const { channels } = this.#client
    for (const { channel, listen } of listenCommands(sql)) {
      if (listen) channels.add(channel)
      else if (channel === '*') channels.clear()
      else channels.delete(channel)
      if (!listen) this.#turns.channelsChanged()
    }
  }
}

// A COPY among other statements would make the backend wait for input for ever: this answers it.
function guardCopy(request, sql) {
  return mayCopyIn(sql) ? Buffer.concat([request, ONLY_ALONE]) : request
}

function isNoticeOfPGlite(notice) {
  const fields = notice.toString('latin1')
  return fields.includes('SDEBUG') || fields.includes('\0M# 1743: aborting transaction')
}
