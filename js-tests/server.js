'use strict'

const { after } = require('node:test')

/**
 * A PostgreSQL for the tests: the one that HEYS_TEST_PG names (postgres://user:password@host:port/database, a superuser
 * who logs in by SCRAM), else one of the sandbox's own, which ends with the test file.
 */

let starting
let sandbox

// Registered while the file loads: a hook registered inside a test would end with that test.
after(() => sandbox?.stop())

function fromUrl(text) {
  const url = new URL(text)
  return {
    host: url.hostname,
    port: Number(url.port),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: url.pathname.slice(1),
  }
}

async function start() {
  if (process.env.HEYS_TEST_PG) return fromUrl(process.env.HEYS_TEST_PG)
  const { startSandbox } = require('../sandbox/client')
  sandbox = await startSandbox({ postgres: true })
  const { host, port, user, password, database } = sandbox.pg
  return { host, port, user, password, database }
}

/** The server's connection options, for `new Client(…)` and `new Pool(…)`. */
function settings() {
  if (starting === undefined) starting = start()
  return starting
}

/** The same as the environment of getPool(). */
async function environment() {
  const { host, port, user, password, database } = await settings()
  return {
    PG_HOST: host,
    PG_PORT: String(port),
    PG_USER: user,
    PG_PASSWORD: password,
    PG_DATABASE: database,
    PG_SSLMODE: 'disable',
  }
}

module.exports = { settings, environment, fromUrl }
