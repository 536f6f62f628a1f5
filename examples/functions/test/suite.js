'use strict'

/**
 * What each function's test file begins with: a server of its own, the function laid out and loaded, and the tests
 * that hold for every function. One process a file, as one container a function.
 */

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const postgres = require('./database')
const { ORIGIN, call, load } = require('./layout')

/** Ids of seed.sql. */
const MARIA = 'a0000000-0000-4000-8000-000000000001'
const OBRIEN = 'a0000000-0000-4000-8000-000000000002'
const NOBODY = 'a0000000-0000-4000-8000-00000000ffff'

/** Resolves once no client of ours is connected; the server ends its processes a moment after the sockets close. */
async function nobodyConnected(server) {
  const others = `SELECT count(*)::int AS n FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`
  const deadline = Date.now() + 5000
  for (;;) {
    const { rows } = await server.query(others)
    if (rows[0].n === 0) return
    assert.ok(Date.now() < deadline, `${rows[0].n} connections left after closePool`)
  }
}

function functionSuite(name, env = {}) {
  let server
  let loaded
  const suite = {
    handler: (...args) => loaded.handler(...args),
    query: (text, values) => server.query(text, values),
  }

  before(async () => {
    server = await postgres.start()
    Object.assign(process.env, server.env, env)
    loaded = load(name)
  })
  after(async () => {
    await loaded.database.closePool()
    await server.closed()
    try {
      await nobodyConnected(server)
    } finally {
      await server.stop()
    }
  })

  test('OPTIONS is answered 204 with the headers of the origin', async () => {
    const answer = await call(suite.handler, 'OPTIONS', '/')
    assert.equal(answer.statusCode, 204)
    assert.equal(answer.headers['Access-Control-Allow-Origin'], ORIGIN)
    assert.match(answer.headers['Access-Control-Allow-Methods'], /\bPOST\b.*\bOPTIONS\b/)
  })
  test('an unknown origin is refused with 403, whatever the case of the header', async () => {
    for (const key of ['Origin', 'origin', 'ORIGIN']) {
      const headers = { Origin: undefined, [key]: 'https://evil.example' }
      const answer = await call(suite.handler, 'POST', '/', { headers, body: {} })
      assert.equal(answer.statusCode, 403)
      assert.equal(answer.headers['Access-Control-Allow-Origin'], undefined)
    }
  })
  test('a method that it does not have is 405', async () => {
    assert.equal((await call(suite.handler, 'TRACE', '/')).statusCode, 405)
  })
  return suite
}

module.exports = { MARIA, OBRIEN, NOBODY, functionSuite }
