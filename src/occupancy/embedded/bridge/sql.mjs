// What the bridge needs to recognize in SQL text, and how it quotes. Everything else goes to the backend unread.

export const quoteIdentifier = (name) => `"${name.replaceAll('"', '""')}"`
export const quoteLiteral = (text) => `'${text.replaceAll("'", "''")}'`

// ---------------------------------------------------------------- COPY FROM STDIN

const COMMENTS = String.raw`(?:(?:--[^\n]*\n|/\*.*?\*/)\s*)*`
const COPY_IN_ALONE = new RegExp(String.raw`^\s*${COMMENTS}COPY\b[^;]*\bFROM\s+STDIN\b`, 'is')
const COPY_IN_ANYWHERE = /\bFROM\s+STDIN\b/i

export const startsWithCopyIn = (sql) => COPY_IN_ALONE.test(sql)
export const mayCopyIn = (sql) => COPY_IN_ANYWHERE.test(sql)
export const isBinaryCopy = (sql) => /\bBINARY\b/i.test(sql)

// ---------------------------------------------------------------- what belongs to one client

// Returns DISCARD ALL or DEALLOCATE ALL if the text is one of them.
export function cleanupCommand(sql) {
  const found = /^\s*(DISCARD|DEALLOCATE)\s+ALL\s*;?\s*$/i.exec(sql)
  return found && `${found[1].toUpperCase()} ALL`
}

const SETTING = String.raw`(TIME\s+ZONE|SESSION\s+\w+|[\w.]+)`
const SESSION_WORD = String.raw`(?:SESSION\s+(?!AUTHORIZATION|CHARACTERISTICS))?`
const TRANSACTION_ONLY = /^\s*SET\s+(?:LOCAL|TRANSACTION|CONSTRAINTS)\b/i
const ONE_SET = new RegExp(String.raw`^\s*SET\s+${SESSION_WORD}${SETTING}[^;]*;?\s*$`, 'i')
const ONE_RESET = new RegExp(String.raw`^\s*(?:RESET|SET(?:\s+SESSION)?)\s+(?!ALL\b)${SETTING}`, 'i')
const SET_TO_DEFAULT = /^\s*SET\b[^;]*\bDEFAULT\s*;?\s*$/i

export const isSetToDefault = (sql) => SET_TO_DEFAULT.test(sql)
export const callsSetConfig = (sql) => /\bset_config\b/i.test(sql)
export const isForTransactionOnly = (sql) => TRANSACTION_ONLY.test(sql)

// The setting that a text made of one SET changes for the session, null for any other text.
export function settingSet(sql) {
  return TRANSACTION_ONLY.test(sql) ? null : nameIn(ONE_SET.exec(sql))
}

// The setting that a text starts to give back its default, null if that is all of them.
export function settingReset(sql) {
  return nameIn(ONE_RESET.exec(sql))
}

function nameIn(found) {
  return found && found[1].toLowerCase()
}

// Every LISTEN and UNLISTEN in a text as {channel, listen}; the channel is * for all.
export function* listenCommands(sql) {
  for (const [, no, name] of sql.matchAll(/\b(UN)?LISTEN\s+(\*|"(?:[^"]|"")+"|[\w$]+)/gi)) {
    const channel = name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name.toLowerCase()
    yield { channel, listen: !no }
  }
}
