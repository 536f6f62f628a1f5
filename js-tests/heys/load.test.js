'use strict'

const assert = require('node:assert/strict')
const { it } = require('node:test')
const { pg } = require('../provider')
const { environment, settings } = require('../server')
const { eventually } = require('../support')

/** Milliseconds; the whole ten seconds of the promise are in `npm run bench`. */
const DURATION = Number(process.env.HEYS_LOAD_MILLIS || 3000)
const CALLERS = 64

it(`${CALLERS} callers on one pool reach 3 connections and never more, and none is left after closePool`, async () => {
  const name = 'heys load'
  Object.assign(process.env, await environment(), { POOL_MAX_SIZE: '3', PGAPPNAME: name })
  const watcher = new pg.Client(await settings())
  await watcher.connect()
  const count = async () => {
    const text =
      'SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()'
    return (await watcher.query(text, [name])).rows[0].n
  }
  await watcher.query("SET application_name = 'the watcher'")
  const until = Date.now() + DURATION
  const pool = pg.getPool()
  let queries = 0
  const call = async (caller) => {
    for (let i = 0; Date.now() < until; i++) {
      const n = caller * 1000000 + i
      const { rows } = await pool.query('SELECT $1::int AS n', [n])
      assert.equal(rows[0].n, n)
      queries++
    }
  }
  let most = 0
  const watch = async () => {
    while (Date.now() < until) most = Math.max(most, await count())
  }
  await Promise.all([watch(), ...Array.from({ length: CALLERS }, (_, caller) => call(caller))])
  assert.equal(most, 3)
  assert.equal(pool.totalCount, 3)
  assert.ok(queries > CALLERS)
  await pg.closePool()
  await eventually(async () => (await count()) === 0)
  await watcher.end()
})
