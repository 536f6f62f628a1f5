'use strict'

/** node-postgres's process-wide defaults. Changing one changes clients made from then on. */

function environmentUser() {
  return process.platform === 'win32' ? process.env.USERNAME : process.env.USER
}

const defaults = {
  host: 'localhost',
  user: environmentUser(),
  database: undefined,
  password: null,
  connectionString: undefined,
  port: 5432,
  rows: 0,
  binary: false,
  max: 10,
  idleTimeoutMillis: 30000,
  client_encoding: '',
  ssl: false,
  sslnegotiation: undefined,
  application_name: undefined,
  fallback_application_name: undefined,
  options: undefined,
  parseInputDatesAsUTC: false,
  statement_timeout: false,
  lock_timeout: false,
  idle_in_transaction_session_timeout: false,
  query_timeout: false,
  connect_timeout: 0,
  keepalives: 1,
  keepalives_idle: 0,
}

// Not one of pg's: whoever lists its defaults must not find it.
Object.defineProperty(defaults, 'strictPg', { enumerable: false, writable: true, value: false })

const INT8 = 20
const INT8_ARRAY = 1016
const INT4 = 23
const INT4_ARRAY = 1007
let saved

/** `true` delivers int8 as numbers (exact up to 2^53), `false` as strings again. */
Object.defineProperty(defaults, 'parseInt8', {
  configurable: true,
  enumerable: true,
  get: undefined,
  set(wanted) {
    const types = require('pg-types')
    if (saved === undefined) saved = [types.getTypeParser(INT8, 'text'), types.getTypeParser(INT8_ARRAY, 'text')]
    types.setTypeParser(INT8, 'text', wanted ? types.getTypeParser(INT4, 'text') : saved[0])
    types.setTypeParser(INT8_ARRAY, 'text', wanted ? types.getTypeParser(INT4_ARRAY, 'text') : saved[1])
  },
})

module.exports = defaults
