'use strict'

/** The sandbox's PostgreSQL with schema.sql and seed.sql loaded, over TLS, as the functions know it. */

const fs = require('fs')
const path = require('path')
const { Client } = require('pg')
const { startSandbox } = require('../../../sandbox/client')
const { functions } = require('./layout')

/** Resolves `{env, query(text, values), sandbox, stop()}`; `parts` are further servers of the sandbox's. */
async function start(parts = {}) {
  const sandbox = await startSandbox({ postgres: true, ...parts })
  const { host, port, database, user, password } = sandbox.pg
  const client = new Client({ host, port, database, user, password })
  await client.connect()
  for (const file of ['schema.sql', 'seed.sql']) await client.query(fs.readFileSync(path.join(functions, file), 'utf8'))
  return {
    env: sandbox.env(),
    sandbox,
    query: (text, values) => client.query(text, values),
    async stop() {
      await client.end()
      await sandbox.stop()
    },
  }
}

module.exports = { start }
