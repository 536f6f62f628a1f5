'use strict'

/** The library under test: heys-db, or node-postgres with HEYS_PROVIDER=pg. One suite runs on both. */

const provider = process.env.HEYS_PROVIDER || 'heys'
if (provider !== 'pg' && provider !== 'heys') throw new Error(`HEYS_PROVIDER is pg or heys, not ${provider}`)

module.exports = { provider, pg: provider === 'pg' ? require('pg') : require('..') }
