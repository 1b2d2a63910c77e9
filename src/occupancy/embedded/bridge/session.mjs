// The one session of the backend: whether a transaction is open, and whose settings are in force.

const IDLE = 'I'

// PGlite starts with enable_seqscan off and, after RESET ALL, looks for tables in pg_catalog alone. There are no
// workers for parallel plans.
const DEFAULTS = `
  SET SESSION AUTHORIZATION postgres;
  RESET ALL;
  SET enable_seqscan = on;
  SET max_parallel_workers_per_gather = 0;
  SET timezone = 'UTC';
  SET search_path = "$user", public;
`

export class Session {
  transactionStatus = IDLE // of the last ReadyForQuery
  #backend
  #settingsKey = null

  constructor(backend) {
    this.#backend = backend
  }

  get parameters() {
    return this.#backend.parameters
  }

  get stopped() {
    return this.#backend.stopped
  }

  get inTransaction() {
    return this.transactionStatus !== IDLE
  }

  get idleMs() {
    return performance.now() - this.#backend.lastUse
  }

  exchange(...messages) {
    return this.#backend.exchange(...messages)
  }

  run(sql) {
    return this.#backend.run(sql)
  }

  // Returns the error's text if these settings cannot be had (the role may not exist).
  apply(settings) {
    if (this.#settingsKey === settings.key) return undefined
    const error = this.#backend.run(DEFAULTS + settings.sql)
    this.#settingsKey = error ? null : settings.key
    return error
  }

  // The client whose turn it is changed its settings by itself.
  holds(settings) {
    this.#settingsKey = settings.key
  }

  forgetSettings() {
    this.#settingsKey = null
  }

  becomeSuperuser() {
    this.forgetSettings()
    this.#backend.run('SET SESSION AUTHORIZATION postgres')
  }

  checkpoint() {
    this.becomeSuperuser()
    this.#backend.run('CHECKPOINT')
  }

  logPosition() {
    this.becomeSuperuser()
    return this.#backend.value('SELECT pg_catalog.pg_current_wal_insert_lsn()')
  }

  // For the next client to find nothing of the last one: temporary tables, locks, prepared statements.
  renew() {
    this.becomeSuperuser()
    this.#backend.run('DISCARD ALL')
  }
}
