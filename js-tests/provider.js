'use strict'

/** The library under test: heys-db, or node-postgres with HEYS_PROVIDER=pg. One suite runs on both. */

const provider = process.env.HEYS_PROVIDER || 'heys'
if (provider !== 'pg' && provider !== 'heys') throw new Error(`HEYS_PROVIDER is pg or heys, not ${provider}`)

/** HEYS_SPEED=all or none: the same suite with every feature of speed on, or off (docs/performance.md). */
const SPEED = {
  all: { prepareStatements: true, prepareInTransactions: true, pipelineQueries: 8 },
  none: { prepareStatements: false, prepareInTransactions: false, pipelineQueries: 1 },
}
const { HEYS_SPEED } = process.env
if (HEYS_SPEED !== undefined && provider === 'heys') {
  if (!Object.hasOwn(SPEED, HEYS_SPEED)) throw new Error(`HEYS_SPEED is all or none, not ${HEYS_SPEED}`)
  const heys = require('..')
  // What sets them by itself comes first in any case.
  void heys.Client
  Object.assign(heys.defaults, SPEED[HEYS_SPEED])
}

module.exports = { provider, pg: provider === 'pg' ? require('pg') : require('..') }
