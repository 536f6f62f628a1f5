'use strict'

const assert = require('node:assert/strict')
const { it } = require('node:test')
const node = require('pg')
const heys = require('../..')
const { environment, settings } = require('../server')
const { eventually } = require('../support')

const CALLERS = 64
const LIMIT = 3
const MILLIS = 10_000
/** pg's time, half of it before and half of it after ours. */
const HALF = 5_000

/** Queries a second by all callers at once; each must get its own answer. */
async function load(pool, millis) {
  const until = performance.now() + millis
  let queries = 0
  const call = async (caller) => {
    for (let i = 0; performance.now() < until; i++) {
      const n = caller * 1_000_000 + i
      const { rows } = await pool.query('SELECT $1::int AS n', [n])
      assert.equal(rows[0].n, n)
      queries++
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, (_, caller) => call(caller)))
  return queries / (millis / 1000)
}

const title = `${CALLERS} callers on one pool for 10 s reach ${LIMIT} connections and never more, faster than with pg, and none is left`
it(title, { timeout: 120_000 }, async (t) => {
  const name = 'heys load'
  Object.assign(process.env, await environment(), { POOL_MAX_SIZE: String(LIMIT), PGAPPNAME: name })
  const watcher = new heys.Client({ ...(await settings()), application_name: 'the watcher' })
  await watcher.connect()
  const count = async () => {
    const text = 'SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1'
    return (await watcher.query(text, [name])).rows[0].n
  }
  /** The load, watched, so that both have the same to bear; resolves the most connections seen, too. */
  const watched = async (pool, millis) => {
    let most = 0
    let done = false
    const rate = load(pool, millis).finally(() => (done = true))
    while (!done) most = Math.max(most, await count())
    return { rate: await rate, most }
  }
  const oracle = new node.Pool({ ...(await settings()), application_name: name, max: LIMIT })
  const before = await watched(oracle, HALF)
  await oracle.end()
  await eventually(async () => (await count()) === 0)

  const pool = heys.getPool()
  const ours = await watched(pool, MILLIS)
  assert.equal(ours.most, LIMIT)
  assert.equal(pool.totalCount, LIMIT)
  await heys.closePool()
  await eventually(async () => (await count()) === 0)

  const again = new node.Pool({ ...(await settings()), application_name: name, max: LIMIT })
  const after = await watched(again, HALF)
  await again.end()
  await watcher.end()
  const theirs = (before.rate + after.rate) / 2
  const ratio = (ours.rate / theirs).toFixed(2)
  t.diagnostic(`${Math.round(ours.rate)} queries/s, pg ${Math.round(theirs)}: ${ratio} times as many`)
  assert.ok(ours.rate > theirs, `${ours.rate} queries/s, pg ${theirs}`)
})
