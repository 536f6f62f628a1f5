'use strict'

/**
 * Numbers for statement texts that come again, so that a text crosses to the addon once. Both maps are bounded: a
 * program that never writes the same text twice costs a lookup, and pushes nothing out that is used.
 */

const MOST = 1000
/** Longer texts (a batch of inserts, a migration) are sent as they are. */
const LONGEST = 16384

const ids = new Map()
const seenOnce = new Set()
let next = 1
/** Numbers up to this one mean nothing any more. */
let forgotten = 0

/** The text's number; 0: it has none. */
function idOf(native, text) {
  const known = ids.get(text)
  if (known !== undefined) return known
  if (text.length > LONGEST) return 0
  if (!seenOnce.delete(text)) {
    if (seenOnce.size >= MOST) seenOnce.clear()
    seenOnce.add(text)
    return 0
  }
  if (ids.size >= MOST) {
    ids.clear()
    native.clearTexts()
    forgotten = next - 1
  }
  const id = next
  next++
  native.text(id, text)
  ids.set(text, id)
  return id
}

/** Whether the number, which was given some time ago, still means its text. */
function isCurrent(id) {
  return id > forgotten
}

module.exports = { idOf, isCurrent }
