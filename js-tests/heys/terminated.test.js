'use strict'

/** Worker threads that are terminated with queries, connection attempts and streams under way. */

const assert = require('node:assert/strict')
const { after, before, describe, it } = require('node:test')
const { setTimeout: sleep } = require('node:timers/promises')
const { Worker } = require('node:worker_threads')
const heys = require('../..')
const { settings } = require('../server')
const { eventually } = require('../support')

const WORKERS = 200
/** Memory is compared between here and the end. */
const WARM = 50
const SPARE = 10 * 1024 * 1024

const source = `
  const { parentPort, workerData } = require('worker_threads')
  const { Pool, Client } = require(${JSON.stringify(require.resolve('../..'))})
  const pool = new Pool({ ...workerData, max: 3 })
  pool.query('SELECT 1').then(() => {
    pool.query('SELECT pg_sleep(60)').catch(() => {})
    pool.query('SELECT g, repeat(\\'x\\', 100) FROM generate_series(1, 1000000) g').catch(() => {})
    pool.query('SELECT pg_sleep(60)').catch(() => {})
    pool.query('SELECT 1').catch(() => {})
    new Client(workerData).connect().catch(() => {})
    parentPort.postMessage('busy')
  })`

let observer

describe('terminated worker threads', () => {
  before(async () => {
    observer = new heys.Client(await settings())
    await observer.connect()
  })
  after(() => observer?.end())

  /** Connections of others that the server has. */
  async function connections() {
    const { rows } = await observer.query(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )
    return rows[0].n
  }

  it(`${WORKERS} of them in a row leave no connection and no memory`, async () => {
    const workerData = await settings()
    let warm = 0
    for (let i = 1; i <= WORKERS; i++) {
      const worker = new Worker(source, { eval: true, workerData })
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
      await sleep(i % 7)
      await worker.terminate()
      // Statements without an end of their own end with their worker.
      if (i % 10 === 0) await eventually(async () => (await connections()) < 20)
      if (i === WARM) warm = process.memoryUsage.rss()
    }
    const grown = process.memoryUsage.rss() - warm
    assert.ok(grown <= SPARE, `resident memory grew by ${Math.round(grown / 1024)} kB over ${WORKERS - WARM} workers`)
    await eventually(async () => (await connections()) === 0)
  })
})
