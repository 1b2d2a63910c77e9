// Checkpoints. PGlite has no checkpointer, so without these the write-ahead log would only grow.

const INTERVAL_MS = 20_000

export class Checkpoints {
  #session
  #due = performance.now() + INTERVAL_MS
  #position = null // where the log ended after the last checkpoint

  constructor(session) {
    this.#session = session
  }

  // Call only while no client has the session.
  perhaps() {
    if (performance.now() < this.#due) return
    // The log's position, not the commands seen, tells whether something was written: any SELECT may call a function.
    if (this.#session.logPosition() === this.#position) this.#postpone()
    else this.now()
  }

  now() {
    this.#session.checkpoint()
    this.#position = this.#session.logPosition()
    this.#postpone()
  }

  #postpone() {
    this.#due = performance.now() + INTERVAL_MS
  }
}
