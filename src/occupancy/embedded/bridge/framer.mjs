// Cuts the bytes that a client sends into whole messages.

const SHORTEST_UNTYPED = 8
const SHORTEST_TYPED = 4
const LONGEST = 2 ** 30

export class Framer {
  // Messages have no type byte until the start-up is over. The receiver of a start-up message sets this.
  typed = false
  #chunks = []
  #size = 0
  #needed = SHORTEST_UNTYPED

  // The length of the message that starts here, or of its head while that is not complete.
  #lengthOf(bytes) {
    const typeLength = this.typed ? 1 : 0
    if (bytes.length < typeLength + 4) return typeLength + 4
    const length = bytes.readInt32BE(typeLength)
    if (length < (this.typed ? SHORTEST_TYPED : SHORTEST_UNTYPED) || length > LONGEST) {
      throw new RangeError(`impossible message length ${length}`)
    }
    return typeLength + length
  }

  // Throws RangeError if the length cannot be one of the protocol.
  *push(chunk) {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    if (this.#size < this.#needed) return // joined only once: a large message comes in thousands of chunks
    let rest = Buffer.concat(this.#chunks)
    for (this.#needed = this.#lengthOf(rest); rest.length >= this.#needed; this.#needed = this.#lengthOf(rest)) {
      const whole = rest.subarray(0, this.#needed)
      rest = rest.subarray(this.#needed)
      yield whole
    }
    this.#chunks = [rest]
    this.#size = rest.length
  }
}
