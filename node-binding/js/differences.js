'use strict'

const defaults = require('./defaults')

/**
 * Where heys-db deliberately behaves better than node-postgres (docs/differences-from-pg.md). `strictPg: true` in a Pool's
 * or Client's options, or in `defaults`, switches all of them off; each can be set alone under its own name in the
 * options, too.
 */
const BETTER = Object.freeze({
  /** A checked-out client's connection error is not emitted on a client that has no 'error' listener. */
  survivesLostClients: true,
  /** pool.end() rejects the waiters still in the queue. */
  endRejectsWaiters: true,
  /** query_timeout cancels the statement on the server and waits for that before the connection is used again. */
  timeoutCancels: true,
  /** A client released inside a transaction, or busy, is cleaned before its next use. */
  cleansReleased: true,
  /** pool.query keeps its connection after a plain SQL error. */
  keepsAfterSqlError: true,
  /** An idle client whose socket shows an end or unread bytes is replaced before anybody gets it. */
  looksBeforeCheckout: true,
  /** Binary results reach their parsers as the bytes that the server sent. */
  intactBinary: true,
})

const PG = Object.freeze(Object.fromEntries(Object.keys(BETTER).map((name) => [name, false])))

/** The differences in force for these options. */
function differences(options) {
  const { strictPg = defaults.strictPg } = options || {}
  const base = strictPg ? PG : BETTER
  if (options === null || typeof options !== 'object') return base
  let chosen = base
  for (const name of Object.keys(BETTER)) {
    const wanted = options[name]
    if (typeof wanted !== 'boolean' || wanted === base[name]) continue
    if (chosen === base) chosen = { ...base }
    chosen[name] = wanted
  }
  return chosen
}

module.exports = { differences }
