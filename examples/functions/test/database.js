'use strict'

/** The sandbox's PostgreSQL with schema.sql and seed.sql loaded, over TLS, as the functions know it. */

const fs = require('fs')
const path = require('path')
const { Client } = require('pg')
const { startPgBouncer } = require('../../../js-tests/pgbouncer')
const { startSandbox } = require('../../../sandbox/client')
const { functions } = require('./layout')

/** HEYS_TEST_POOLER=session or transaction: the functions reach the server through PgBouncer in that mode. */
const MODE = process.env.HEYS_TEST_POOLER

/**
 * Resolves `{env, query(text, values), sandbox, closed(), stop()}`; `parts` are further servers of the sandbox's. Call
 * `closed()` when the functions' pools have ended.
 */
async function start(parts = {}) {
  const sandbox = await startSandbox({ postgres: true, ...parts })
  const { host, port, database, user, password } = sandbox.pg
  const client = new Client({ host, port, database, user, password })
  await client.connect()
  for (const file of ['schema.sql', 'seed.sql']) await client.query(fs.readFileSync(path.join(functions, file), 'utf8'))
  const bouncer = MODE && (await startPgBouncer(sandbox.pg, MODE))
  return {
    env: bouncer ? { ...sandbox.env(), PG_PORT: String(bouncer.settings.port), PG_SSLMODE: 'disable' } : sandbox.env(),
    sandbox,
    closed: () => bouncer && bouncer.stop(),
    query: (text, values) => client.query(text, values),
    async stop() {
      await client.end()
      await sandbox.stop()
    },
  }
}

module.exports = { start }
