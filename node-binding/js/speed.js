'use strict'

const defaults = require('./defaults')

/**
 * What heys-db does for speed where node-postgres does not, as options of a Pool or a Client, or in `defaults`
 * (docs/performance.md). None of it changes a result. `strictPg: true` leaves all of it out but for what is asked for by
 * its own name.
 *
 * `prepareStatements`: a text seen a few times on a connection becomes a prepared statement by itself. `true`, on
 * connections that are the server's own; `'always'`, also behind a pooler, which must then keep the names of its clients
 * apart; `false`.
 *
 * `prepareInTransactions`: the same inside BEGIN … COMMIT, where a table that was changed meanwhile makes the statement
 * fail and the transaction with it. `false`.
 *
 * `pipelineQueries`: how many one-shot queries of a pool (`pool.query`) may be in flight on one connection when all are
 * busy; 1 or `false`: each waits for a connection of its own. At most 8.
 */
const FAST = Object.freeze({ prepareStatements: true, prepareInTransactions: false, pipelineQueries: 8 })
const STRICT = Object.freeze({ prepareStatements: false, prepareInTransactions: false, pipelineQueries: 1 })
const NAMES = Object.keys(FAST)
const MOST_IN_FLIGHT = 8

for (const name of NAMES) Object.defineProperty(defaults, name, { enumerable: false, writable: true, value: undefined })

function inFlight(wanted) {
  if (wanted === true) return MOST_IN_FLIGHT
  const number = Math.floor(Number(wanted))
  return number >= 1 ? Math.min(number, MOST_IN_FLIGHT) : 1
}

/** The settings in force for these options. */
function speed(options) {
  const given = options !== null && typeof options === 'object' ? options : {}
  const { strictPg = defaults.strictPg } = given
  const base = strictPg ? STRICT : FAST
  let chosen = base
  for (const name of NAMES) {
    const wanted = given[name] === undefined ? defaults[name] : given[name]
    if (wanted === undefined || wanted === base[name]) continue
    if (chosen === base) chosen = { ...base }
    chosen[name] = name === 'pipelineQueries' ? inFlight(wanted) : wanted
  }
  return chosen
}

module.exports = { speed }
