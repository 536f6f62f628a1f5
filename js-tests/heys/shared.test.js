'use strict'

const assert = require('node:assert/strict')
const { afterEach, beforeEach, describe, it } = require('node:test')
const heys = require('../..')
const { environment } = require('../server')
const { rejection } = require('../support')

const METHODS = ['log', 'warn', 'error']
let saved
let lines

beforeEach(async () => {
  saved = { env: { ...process.env }, methods: METHODS.map((name) => console[name]) }
  lines = []
  for (const name of METHODS) console[name] = (...parts) => lines.push(`${name} ${parts.join(' ')}`)
  Object.assign(process.env, await environment())
})

afterEach(async () => {
  await heys.closePool()
  METHODS.forEach((name, i) => (console[name] = saved.methods[i]))
  for (const key of Object.keys(process.env)) if (!(key in saved.env)) delete process.env[key]
  Object.assign(process.env, saved.env)
})

describe('getPool()', () => {
  it('is made once, from the environment of that moment, with the HEYS defaults', async () => {
    const pool = heys.getPool()
    assert.equal(heys.getPool(), pool)
    const { max, idleTimeoutMillis, connectionTimeoutMillis, query_timeout, allowExitOnIdle, keepAlive } = pool.options
    assert.deepEqual(
      { max, idleTimeoutMillis, connectionTimeoutMillis, query_timeout, allowExitOnIdle, keepAlive },
      {
        max: 3,
        idleTimeoutMillis: 10000,
        connectionTimeoutMillis: 5000,
        query_timeout: 10000,
        allowExitOnIdle: true,
        keepAlive: true,
      },
    )
    assert.deepEqual([pool.totalCount, pool.idleCount, pool.waitingCount], [0, 0, 0])
    assert.deepEqual(lines, ['log [DB-Pool] Pool initialized with max: 3'])
    await heys.closePool()
    Object.assign(process.env, { POOL_MAX_SIZE: '5', POOL_IDLE_TIMEOUT: '3000', POOL_QUERY_TIMEOUT: '30000' })
    const next = heys.getPool()
    assert.notEqual(next, pool)
    assert.deepEqual([next.options.max, next.options.idleTimeoutMillis, next.options.query_timeout], [5, 3000, 30000])
  })

  it('shows no password when it is logged', async () => {
    const { inspect } = require('node:util')
    process.env.PG_PASSWORD = process.env.PG_PASSWORD || 'geheim'
    const pool = heys.getPool()
    const client = await pool.connect()
    const seen = inspect(pool, { depth: 10 }) + inspect(client, { depth: 10 })
    client.release()
    assert.ok(!seen.includes(process.env.PG_PASSWORD))
  })

  it('gives one pool for all names, and one for each with POOL_PER_FUNCTION_METRICS', async () => {
    assert.equal(heys.getPool('rpc'), heys.getPool())
    await heys.closePool()
    process.env.POOL_PER_FUNCTION_METRICS = 'true'
    const rpc = heys.getPool('rpc')
    assert.notEqual(rpc, heys.getPool('rest'))
    assert.equal(heys.getPool('rpc'), rpc)
    await rpc.query('SELECT 1')
    assert.deepEqual(
      heys.getAllPools().map(({ name, metrics }) => [name, metrics]),
      [
        ['rpc', { total: 1, idle: 1, waiting: 0 }],
        ['rest', { total: 0, idle: 0, waiting: 0 }],
      ],
    )
    assert.equal(heys.getAllPools()[0].pool, rpc)
    assert.ok(lines.includes('log [DB-Pool:rpc] Pool initialized with max: 3'))
    heys.getPool()
    assert.equal(heys.getAllPools()[2].name, 'shared')
  })

  it('tells of lost idle clients always, of the others with LOG_LEVEL=debug', async () => {
    process.env.LOG_LEVEL = 'debug'
    const pool = heys.getPool()
    const client = await pool.connect()
    const pid = client.processID
    client.release()
    const removed = new Promise((resolve) => pool.once('remove', resolve))
    const other = await pool.connect()
    const second = await pool.connect()
    other.release()
    await second.query('SELECT pg_terminate_backend($1)', [other.processID])
    await removed
    second.release()
    assert.ok(lines.includes(`log [DB-Pool] Client connected, server process ${pid}`))
    assert.ok(lines.includes(`log [DB-Pool] Client acquired, server process ${pid}`))
    assert.ok(lines.includes(`log [DB-Pool] Client removed, server process ${pid}`))
    const lost = lines.filter((line) => line.startsWith('error [DB-Pool] ERROR Unexpected error on idle client:'))
    assert.equal(lost.length, 1)
    assert.match(lost[0], /57P01/)
  })
})

describe('withClient()', () => {
  it('resolves what the function resolves, and releases whatever happens', async () => {
    assert.equal(await heys.withClient(async (client) => (await client.query('SELECT 5 AS a')).rows[0].a), 5)
    const failure = new Error('mine')
    assert.equal(await rejection(heys.withClient(() => Promise.reject(failure))), failure)
    const thrown = heys.withClient(() => {
      throw failure
    })
    assert.equal(await rejection(thrown), failure)
    const pool = heys.getPool()
    assert.deepEqual([pool.totalCount, pool.idleCount], [1, 1])
  })

  it('lets the function release by itself, once', async () => {
    await heys.withClient(async (client) => {
      client.release(true)
      assert.throws(() => client.release(), /already been released/)
    })
    assert.equal(heys.getPool().totalCount, 0)
  })
})

describe('withTransaction()', () => {
  const count = async () => (await heys.getPool().query('SELECT count(*)::int AS n FROM heys_tx')).rows[0].n

  beforeEach(() => heys.getPool().query('CREATE TABLE IF NOT EXISTS heys_tx (a int PRIMARY KEY); TRUNCATE heys_tx'))
  afterEach(() => heys.getPool().query('DROP TABLE heys_tx'))

  it('commits, and resolves what the function resolves', async () => {
    const value = await heys.withTransaction(async (client) => {
      assert.equal(client.getTransactionStatus(), 'T')
      return (await client.query('INSERT INTO heys_tx VALUES (1) RETURNING a')).rows[0].a
    })
    assert.equal(value, 1)
    assert.equal(await count(), 1)
  })

  it('rolls back when the function or a statement fails, and rejects with that error', async () => {
    const failure = new Error('mine')
    const mine = heys.withTransaction(async (client) => {
      await client.query('INSERT INTO heys_tx VALUES (1)')
      throw failure
    })
    assert.equal(await rejection(mine), failure)
    const servers = heys.withTransaction((client) => client.query('INSERT INTO heys_tx VALUES (1), (1)'))
    assert.equal((await rejection(servers)).code, '23505')
    assert.equal(await count(), 0)
    assert.deepEqual(
      lines.filter((line) => line.startsWith('warn')),
      [],
    )
  })

  it('sets isolation and readOnly, and refuses a level that there is not', async () => {
    const seen = await heys.withTransaction(
      (client) =>
        client.query(
          "SELECT current_setting('transaction_isolation') AS i, current_setting('transaction_read_only') AS r",
        ),
      { isolation: 'repeatable read', readOnly: true },
    )
    assert.deepEqual(seen.rows, [{ i: 'repeatable read', r: 'on' }])
    const error = await rejection(heys.withTransaction(() => {}, { isolation: 'serializable; DROP TABLE heys_tx' }))
    assert.equal(error.name, 'TypeError')
  })

  it('runs the function again after a serialization failure, as often as it is told', async () => {
    await heys.getPool().query('INSERT INTO heys_tx VALUES (0)')
    let runs = 0
    const collide = async (client) => {
      runs++
      const { rows } = await client.query('SELECT a FROM heys_tx')
      // Another transaction changes the row in between, the first time.
      if (runs === 1) await heys.getPool().query('UPDATE heys_tx SET a = a + 100')
      await client.query('UPDATE heys_tx SET a = $1', [rows[0].a + 1])
    }
    const isolation = 'SERIALIZABLE'
    assert.equal((await rejection(heys.withTransaction(collide, { isolation }))).code, '40001')
    assert.equal(runs, 1)
    runs = 0
    await heys.withTransaction(collide, { isolation, retries: 3 })
    assert.equal(runs, 2)
    assert.equal((await heys.getPool().query('SELECT a FROM heys_tx')).rows[0].a, 201)
    runs = 0
    const other = heys.withTransaction(
      () => {
        runs++
        throw Object.assign(new Error('other'), { code: '23505' })
      },
      { retries: 3 },
    )
    await rejection(other)
    assert.equal(runs, 1)
  })
})

describe('withAdmission()', () => {
  /** A handler whose calls wait until they are let go. */
  function held() {
    const letGo = []
    const handler = () => new Promise((resolve) => letGo.push(() => resolve({ statusCode: 200 })))
    return { handler, letGo }
  }

  it('lets `limit` calls in at a time, the others in their order', async () => {
    const { handler, letGo } = held()
    const admitted = heys.withAdmission(handler, { limit: 2 })
    const answers = [1, 2, 3, 4].map(() => admitted({}, {}))
    await new Promise(setImmediate)
    assert.equal(letGo.length, 2)
    letGo[1]()
    await answers[1]
    await new Promise(setImmediate)
    assert.equal(letGo.length, 3)
    for (const i of [0, 2]) letGo[i]()
    await answers[2]
    await new Promise(setImmediate)
    letGo[3]()
    assert.equal((await answers[3]).statusCode, 200)
  })

  it('answers 503 with Retry-After when the deadline comes first', async () => {
    const { handler, letGo } = held()
    const admitted = heys.withAdmission(handler, { limit: 1, retryAfterSeconds: 2 })
    const first = admitted({}, {})
    const late = await admitted({}, { getRemainingTimeInMillis: () => 550 })
    assert.equal(late.statusCode, 503)
    assert.equal(late.headers['Retry-After'], '2')
    assert.equal(JSON.parse(late.body).error, 'SERVICE_BUSY')
    const none = await admitted({}, { getRemainingTimeInMillis: () => 100 })
    assert.equal(none.statusCode, 503)
    assert.equal(letGo.length, 1)
    letGo[0]()
    await first
    const next = admitted({}, {})
    await new Promise(setImmediate)
    letGo[1]()
    assert.equal((await next).statusCode, 200)
  })

  it('frees its place when the handler fails, and passes arguments and this on', async () => {
    const admitted = heys.withAdmission(
      async function (event, context, more) {
        if (event.fail) throw new Error('the handler failed')
        return [this.name, event.a, context.b, more]
      },
      { limit: 1 },
    )
    assert.equal((await rejection(admitted({ fail: true }, {}))).message, 'the handler failed')
    assert.deepEqual(await admitted.call({ name: 'me' }, { a: 1 }, { b: 2 }, 3), ['me', 1, 2, 3])
  })

  it('wants a limit', () => {
    for (const options of [undefined, {}, { limit: 0 }, { limit: 1.5 }, { limit: '2' }]) {
      assert.throws(() => heys.withAdmission(() => {}, options), TypeError)
    }
  })
})

describe('metrics', () => {
  it('count what happened', async () => {
    Object.assign(process.env, { POOL_MAX_SIZE: '2', POOL_CONNECT_TIMEOUT: '100', POOL_QUERY_TIMEOUT: '150' })
    const pool = heys.getPool()
    const clients = await Promise.all([pool.connect(), pool.connect()])
    await rejection(pool.connect())
    const busy = heys.getPoolMetrics()
    assert.deepEqual(
      [busy.total, busy.active, busy.idle, busy.waiting, busy.max, busy.utilization],
      [2, 2, 0, 0, 2, 100],
    )
    assert.deepEqual([busy.acquires, busy.acquireTimeouts, busy.connectErrors, busy.queryTimeouts], [3, 1, 0, 0])
    assert.ok(busy.waitMs.max >= 95 && busy.waitMs.total >= busy.waitMs.max && busy.waitMs.last >= 95)
    assert.ok(!Number.isNaN(Date.parse(busy.timestamp)))
    await rejection(clients[0].query('SELECT pg_sleep(5)'))
    for (const client of clients) client.release()
    assert.equal(heys.getPoolMetrics().queryTimeouts, 1)
    assert.deepEqual(
      heys.getAllPoolsMetrics().map(({ name, max }) => [name, max]),
      [['shared', 2]],
    )
  })

  it('count connections that failed, and the health check says so', async () => {
    process.env.PG_PORT = '1'
    await rejection(heys.getPool().query('SELECT 1'))
    const { healthy, reason, metrics } = heys.getPoolHealthCheck()
    assert.deepEqual([healthy, metrics.connectErrors], [false, 1])
    assert.match(reason, /connecting has failed/)
  })

  it('are healthy with a pool at rest, and not with a queue as long as the pool', async () => {
    process.env.POOL_MAX_SIZE = '1'
    const pool = heys.getPool()
    assert.deepEqual([heys.getPoolHealthCheck().healthy, heys.getPoolHealthCheck().reason], [true, null])
    const client = await pool.connect()
    const waiting = pool.connect()
    const check = heys.getPoolHealthCheck()
    assert.equal(check.healthy, false)
    assert.match(check.reason, /1 callers are waiting for 1 connections/)
    client.release()
    ;(await waiting).release()
    assert.equal(heys.getPoolHealthCheck().healthy, true)
  })

  it('are logged on their own and after each call of a handler', async () => {
    heys.getPool()
    heys.logPoolMetrics()
    const handler = heys.withPoolMetrics(async (event) => event.a)
    assert.equal(await handler({ a: 7 }), 7)
    const logged = lines.filter((line) => line.startsWith('log [Pool-Metrics] '))
    assert.equal(logged.length, 2)
    assert.equal(JSON.parse(logged[0].slice('log [Pool-Metrics] '.length)).name, 'shared')
  })
})
