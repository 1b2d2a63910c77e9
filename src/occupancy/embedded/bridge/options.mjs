// The command line.
import path from 'node:path'
import { parseArgs } from 'node:util'

const EXIT_USAGE = 64
export const HOST = '127.0.0.1'

class UsageError extends Error {
  exitCode = EXIT_USAGE
}

export function readOptions() {
  const values = parse()
  if (!values.data) throw new UsageError('--data DIR is missing')
  if (values.host !== HOST) {
    throw new UsageError(`--host ${values.host} is refused: any password is accepted, so only ${HOST} is served`)
  }
  return {
    data: path.resolve(values.data),
    port: wholeNumber('port', values.port, 65_535),
    database: values.database,
    maxWait: wholeNumber('max-wait', values['max-wait'], 86_400) * 1000,
    state: values.state,
    untilEof: values['until-eof'],
  }
}

function parse() {
  try {
    const options = {
      data: { type: 'string' },
      host: { type: 'string', default: HOST },
      port: { type: 'string', default: '0' }, // 0: any free one
      database: { type: 'string', default: 'occupancy' },
      'max-wait': { type: 'string', default: '10' }, // seconds; 0: for ever
      state: { type: 'string' }, // where to write the process number and port as JSON once it accepts connections
      'until-eof': { type: 'boolean', default: false }, // stop when standard input closes
    }
    return parseArgs({ options }).values
  } catch (error) {
    throw new UsageError(error.message)
  }
}

function wholeNumber(name, text, highest) {
  const number = Number(text)
  if (!/^\d+$/.test(text) || number > highest) {
    throw new UsageError(`--${name} ${text}: expected a whole number from 0 to ${highest}`)
  }
  return number
}
