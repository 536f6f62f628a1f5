'use strict'

/** getPool() in several threads: one limit for all of them. */

const assert = require('node:assert/strict')
const { after, afterEach, before, describe, it } = require('node:test')
const { setTimeout: sleep } = require('node:timers/promises')
const { Worker } = require('node:worker_threads')
const heys = require('../..')
const { environment, settings } = require('../server')

const HEYS = JSON.stringify(require.resolve('../..'))
const LIMIT = 3
const workers = []
let observer

/** A thread that runs `body`; `said(worker)` is what it posts. */
function start(body) {
  const source = `const { parentPort } = require('worker_threads'); const { getPool, closePool } = require(${HEYS})
    console.log = () => {}
    ;(async () => { ${body} })()`
  const worker = new Worker(source, { eval: true })
  workers.push(worker)
  return worker
}

function said(worker) {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', (code) => reject(new Error(`the thread ended with ${code} before it said a word`)))
  })
}

async function connections() {
  const { rows } = await observer.query(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
  )
  return rows[0].n
}

/** Waits for connections that were closed a moment ago to be gone at the server, too. */
async function noneLeft() {
  for (let i = 0; (await connections()) > 0; i++) {
    assert.ok(i < 500, 'connections are left')
    await sleep(10)
  }
}

const MANY = `Promise.all(Array.from({ length: 30 }, () => getPool().query('SELECT pg_sleep(0.005)')))`

describe('the shared pool of several threads', () => {
  before(async () => {
    Object.assign(process.env, await environment(), { POOL_MAX_SIZE: String(LIMIT) })
    observer = new heys.Client(await settings())
    await observer.connect()
  })

  afterEach(async () => {
    await Promise.all(workers.splice(0).map((worker) => worker.terminate()))
    await heys.closePool()
  })

  after(() => observer?.end())

  it('keeps one limit, and each thread has its turn', async () => {
    await noneLeft()
    const threads = [1, 2, 3].map(() =>
      start(`for (let i = 0; i < 5; i++) await ${MANY}; await closePool(); parentPort.postMessage('done')`),
    )
    let done = false
    const work = Promise.all([
      ...threads.map(said),
      (async () => {
        for (let i = 0; i < 5; i++) {
          await Promise.all(Array.from({ length: 30 }, () => heys.getPool().query('SELECT pg_sleep(0.005)')))
        }
        await heys.closePool()
      })(),
    ]).finally(() => (done = true))
    let most = 0
    while (!done) most = Math.max(most, await connections())
    assert.deepEqual((await work).slice(0, 3), ['done', 'done', 'done'])
    assert.equal(most, LIMIT)
  })

  it('has idle connections closed for a thread that waits', async () => {
    const pool = heys.getPool()
    await Promise.all([1, 2, 3].map(() => pool.query('SELECT pg_sleep(0.02)')))
    assert.equal(pool.idleCount, LIMIT)
    const answer = await said(
      start(`parentPort.postMessage((await getPool().query('SELECT 41 + 1 AS a')).rows[0].a); await closePool()`),
    )
    assert.equal(answer, 42)
    assert.equal(pool.totalCount, LIMIT - 1)
  })

  it('keeps a thread alive that waits, until a client is released elsewhere', async () => {
    const pool = heys.getPool()
    const clients = await Promise.all([1, 2, 3].map(() => pool.connect()))
    const answer = said(start(`parentPort.postMessage((await getPool().query('SELECT 7 AS a')).rows[0].a)`))
    const early = await Promise.race([answer, sleep(500, 'nothing yet')])
    assert.equal(early, 'nothing yet')
    clients.pop().release()
    assert.equal(await answer, 7)
    clients.forEach((client) => client.release())
  })

  it('gets back what a terminated thread had', async () => {
    const worker = start(`await Promise.all([1, 2, 3].map(() => getPool().connect())); parentPort.postMessage('all')`)
    assert.equal(await said(worker), 'all')
    const answer = heys.getPool().query('SELECT 8 AS a')
    assert.equal(await Promise.race([answer, sleep(200, 'nothing yet')]), 'nothing yet')
    await worker.terminate()
    assert.equal((await answer).rows[0].a, 8)
  })

  it('times out in the queue for a permit as in any other', async () => {
    const clients = await Promise.all([1, 2, 3].map(() => heys.getPool().connect()))
    const worker = start(`process.env.POOL_CONNECT_TIMEOUT = '100'
      await getPool().query('SELECT 1').catch((error) => parentPort.postMessage(error.message))`)
    assert.equal(await said(worker), 'timeout exceeded when trying to connect')
    clients.forEach((client) => client.release())
    assert.equal((await heys.getPool().query('SELECT 9 AS a')).rows[0].a, 9)
  })

  it('leaves the pools of new Pool() alone', async () => {
    const clients = await Promise.all([1, 2, 3].map(() => heys.getPool().connect()))
    const own = new heys.Pool(await settings())
    assert.equal((await own.query('SELECT 10 AS a')).rows[0].a, 10)
    await own.end()
    clients.forEach((client) => client.release())
  })
})
