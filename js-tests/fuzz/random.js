'use strict'

/** Random numbers that a seed determines (mulberry32). */
class Random {
  constructor(seed) {
    this.state = seed >>> 0
  }

  /** A whole number from 0 to `below` - 1. */
  int(below) {
    this.state = (this.state + 0x6d2b79f5) | 0
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }

  chance(percent) {
    return this.int(100) < percent
  }

  pick(list) {
    return list[this.int(list.length)]
  }

  /** From none to `most` of what `make` gives. */
  some(most, make) {
    return Array.from({ length: this.int(most + 1) }, make)
  }
}

module.exports = { Random }
