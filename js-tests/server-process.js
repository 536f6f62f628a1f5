'use strict'

/** The PostgreSQL of a program that is no test file: the one that HEYS_TEST_PG names, else one of the sandbox's own. */
async function settings() {
  if (process.env.HEYS_TEST_PG) return { settings: require('./server').fromUrl(process.env.HEYS_TEST_PG), stop() {} }
  const { startSandbox } = require('../sandbox/client')
  const sandbox = await startSandbox({ postgres: true })
  const { host, port, user, password, database } = sandbox.pg
  return { settings: { host, port, user, password, database }, stop: () => sandbox.stop() }
}

module.exports = { settings }
