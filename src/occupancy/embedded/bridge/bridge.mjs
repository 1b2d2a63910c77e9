// Serves one PGlite + TimescaleDB database on a TCP port, for first runs and tests.
//
//   node --stack-size=3900 bridge.mjs --data DIR [--port N] [--database NAME] [--max-wait S] [--state FILE] [--until-eof]
//
// PGlite is a single PostgreSQL backend: one session and one transaction at a time. Clients share it by turns, see
// turns.mjs. Committed data survive a killed process but not a power cut: PGlite never calls fsync.
//
// Nothing here keeps a second bridge off the same data directory. Whoever starts it does (see lock.py).
import { Backend } from './backend.mjs'
import { Checkpoints } from './checkpoints.mjs'
import { Client } from './client.mjs'
import { openCluster } from './cluster.mjs'
import { readOptions } from './options.mjs'
import { errorResponse } from './protocol.mjs'
import { listen } from './server.mjs'
import { Session } from './session.mjs'
import { publishState, withdrawState } from './state.mjs'
import { Turns } from './turns.mjs'

const EXIT_CANNOT_START = 69
const EXIT_CRASHED = 70
const TICK_MS = 500
const CRASH_GRACE_MS = 100 // for the last message to reach the clients

try {
  await main(readOptions())
} catch (error) {
  console.error(error.message)
  process.exit(error.exitCode ?? EXIT_CANNOT_START)
}

async function main(options) {
  const cluster = await openCluster(options.data, options.database)
  const backend = new Backend(cluster)
  const session = new Session(backend)
  const turns = new Turns(session, new Checkpoints(session), options.maxWait)
  backend.onCrash = (error) => crash(turns, error)

  const server = await listen(options.port, (socket) => new Client(socket, turns, session, options.database))
  const timer = setInterval(() => turns.tick(), TICK_MS)
  stopOnRequest(options, async () => {
    clearInterval(timer)
    server.close()
    withdrawState(options.state)
    turns.close(errorResponse('FATAL', '57P01', 'terminating connection: the embedded database was stopped'))
    await backend.close()
  })

  const { address, port } = server.address()
  publishState(options.state, { pid: process.pid, port, database: options.database })
  console.log(`ready ${address}:${port}`)
}

function stopOnRequest(options, stop) {
  let stopping = false
  const stopOnce = async () => {
    if (stopping) return
    stopping = true
    await stop().catch((error) => console.error(error))
    process.exit(0)
  }
  process.on('SIGTERM', stopOnce)
  process.on('SIGINT', stopOnce)
  // A parent that holds the other end of standard input takes this process with it, however the parent ends.
  if (options.untilEof) process.stdin.on('end', stopOnce).on('error', stopOnce).resume()
}

// A WebAssembly trap leaves the backend in an unknown state. As after a PANIC, only a restart helps.
function crash(turns, error) {
  console.error('the database crashed:', error)
  turns.disconnectAll(errorResponse('FATAL', '57P02', `the database crashed: ${error.message}`))
  setTimeout(() => process.exit(EXIT_CRASHED), CRASH_GRACE_MS)
}
