// Messages of PostgreSQL's wire protocol, version 3: how to build them and how to take them apart.

export const EMPTY = Buffer.alloc(0)
export const PROTOCOL_3_0 = 3 << 16

// ---------------------------------------------------------------- building

export function int32(number) {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(number)
  return bytes
}

// A string among the parts becomes a zero-terminated string, a buffer is taken as it is.
export function message(type, ...parts) {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part)))
  return Buffer.concat([Buffer.from(type, 'latin1'), int32(body.length + 4), body])
}

export function startupMessage(user) {
  const body = Buffer.from(`user\0${user}\0\0`)
  return Buffer.concat([int32(body.length + 8), int32(PROTOCOL_3_0), body])
}

export function errorResponse(severity, code, text) {
  return message('E', `S${severity}`, `V${severity}`, `C${code}`, `M${text}`, Buffer.from([0]))
}

export const SYNC = message('S')
// A Parse that always fails. Unlike Sync, which commits, it rolls back what was executed since the last Sync.
export const FAIL = message('P', '', 'abandoned', Buffer.alloc(2))
export const TERMINATE = message('X')
export const query = (sql) => message('Q', sql)
export const password = (text) => message('p', text)
export const copyFail = (reason) => message('f', reason)
export const closeStatement = (name) => message('C', Buffer.from('S'), name)
export const authenticationOk = () => message('R', int32(0))
export const parameterStatus = (name, value) => message('S', name, value)
export const backendKeyData = (id, secret) => message('K', int32(id), int32(secret))
export const readyForQuery = (status) => message('Z', Buffer.from(status))
export const commandComplete = (tag) => message('C', tag)
export const copyInResponse = (binary) => message('G', Buffer.from([binary ? 1 : 0, 0, 0]))

// ---------------------------------------------------------------- taking apart

const HEADER = 5 // type and length

export const typeOf = (bytes) => String.fromCharCode(bytes[0])
export const firstByteOf = (bytes) => String.fromCharCode(bytes[HEADER])

export function* messagesIn(bytes) {
  for (let start = 0; start < bytes.length; ) {
    const end = start + 1 + bytes.readInt32BE(start + 1)
    yield bytes.subarray(start, end)
    start = end
  }
}

// The zero-terminated string that starts `from` bytes into a message, by default right after the header.
export function stringAt(bytes, from = HEADER) {
  return bytes.toString('utf8', from, bytes.indexOf(0, from))
}

// Where the string that starts at `from` is over, its zero included.
export function afterString(bytes, from = HEADER) {
  return bytes.indexOf(0, from) + 1
}

export function stringsIn(bytes, from = HEADER) {
  return bytes.toString('utf8', from).split('\0')
}

export function errorText(bytes) {
  const text = stringsIn(bytes).find((field) => field.startsWith('M'))
  return text?.slice(1) ?? 'unknown error'
}

// The first column of a DataRow as text, null for NULL.
export function firstColumn(bytes) {
  const start = HEADER + 2
  const length = bytes.readInt32BE(start)
  return length < 0 ? null : bytes.toString('utf8', start + 4, start + 4 + length)
}
