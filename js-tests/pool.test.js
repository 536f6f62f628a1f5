'use strict'

const assert = require('node:assert/strict')
const net = require('node:net')
const { describe, it } = require('node:test')
const { pg } = require('./provider')
const { settings } = require('./server')
const { withClient, withPool, rejection, eventually } = require('./support')
const { startProxy } = require('./wire-proxy')

const tick = () => new Promise((resolve) => setImmediate(resolve))
const event = (emitter, name) => new Promise((resolve) => emitter.once(name, (...args) => resolve(args)))

/** Writes down what a pool emits. */
function record(pool) {
  const seen = []
  for (const name of ['connect', 'acquire', 'release', 'remove', 'error']) pool.on(name, () => seen.push(name))
  return seen
}

describe('connect()', () => {
  it('hands out clients up to max, then makes callers wait in order', async () => {
    await withPool({ max: 2 }, async (pool) => {
      const a = await pool.connect()
      const b = await pool.connect()
      const order = []
      const waiting = ['c', 'd'].map((name) => pool.connect().then((client) => order.push(name) && client))
      assert.deepEqual([pool.totalCount, pool.idleCount, pool.waitingCount], [2, 0, 2])
      a.release()
      const c = await waiting[0]
      assert.equal(c, a)
      b.release()
      const d = await waiting[1]
      assert.deepEqual(order, ['c', 'd'])
      assert.deepEqual([pool.totalCount, pool.idleCount, pool.waitingCount], [2, 0, 0])
      c.release()
      d.release()
      await tick()
      assert.deepEqual([pool.totalCount, pool.idleCount, pool.waitingCount], [2, 2, 0])
    })
  })

  it('takes the client that went idle last', async () => {
    await withPool({ max: 3 }, async (pool) => {
      const [a, b, c] = await Promise.all([pool.connect(), pool.connect(), pool.connect()])
      b.release()
      c.release()
      a.release()
      const taken = []
      for (let i = 0; i < 3; i++) taken.push(await pool.connect())
      assert.deepEqual(taken, [a, c, b])
      for (const client of taken) client.release()
    })
  })

  it('calls back with client and release, never at once', async () => {
    await withPool({ max: 1 }, async (pool) => {
      for (let i = 0; i < 2; i++) {
        let returned = false
        await new Promise((resolve) => {
          const nothing = pool.connect((error, client, release) => {
            assert.equal(error, undefined)
            assert.equal(returned, true)
            assert.equal(client.release, release)
            release()
            resolve()
          })
          assert.equal(nothing, undefined)
          returned = true
        })
      }
    })
  })

  it("fails with the connection's error, and a release that does nothing", async () => {
    await withPool({ host: '127.0.0.1', port: 1 }, async (pool) => {
      const error = await rejection(pool.connect())
      assert.equal(error.code, 'ECONNREFUSED')
      await new Promise((resolve) => {
        pool.connect((failure, client, release) => {
          assert.equal(failure.code, 'ECONNREFUSED')
          assert.equal(client, undefined)
          release()
          resolve()
        })
      })
      assert.deepEqual([pool.totalCount, pool.idleCount, pool.waitingCount], [0, 0, 0])
      assert.equal((await rejection(pool.query('SELECT 1'))).code, 'ECONNREFUSED')
    })
  })

  it('serves the next waiter after a connection failed', async () => {
    const target = await settings()
    let fail = true
    await withPool({ max: 1, password: () => (fail ? 'wrong' : target.password) }, async (pool) => {
      const first = rejection(pool.connect())
      const second = pool.connect()
      assert.equal((await first).code, '28P01')
      fail = false
      await second.then(
        (client) => client.release(),
        (error) => assert.equal(error.code, '28P01'),
      )
      const client = await pool.connect()
      client.release()
    })
  })
})

describe('release()', () => {
  it('gives back, also with false and undefined; destroys with true and an error', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const first = await pool.connect()
      for (const value of [undefined, false, null, 0]) {
        const client = pool.idleCount ? await pool.connect() : first
        assert.equal(client, first)
        client.release(value)
        assert.equal(pool.totalCount, 1)
      }
      let before = first
      for (const value of [true, new Error('broken')]) {
        const client = await pool.connect()
        assert.equal(client, before)
        const removed = event(pool, 'remove')
        client.release(value)
        assert.deepEqual([pool.totalCount, pool.idleCount], [0, 0])
        assert.deepEqual(await removed, [client])
        before = await pool.connect()
        assert.notEqual(before, client)
        before.release()
      }
    })
  })

  it('throws the second time and changes nothing', async () => {
    await withPool({ max: 2 }, async (pool) => {
      const client = await pool.connect()
      client.release()
      const message = 'Release called on client which has already been released to the pool.'
      assert.throws(() => client.release(), new Error(message))
      assert.throws(() => client.release(true), new Error(message))
      assert.deepEqual([pool.totalCount, pool.idleCount], [1, 1])
    })
  })

  it('emits release with the error before idleCount changes', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const seen = []
      pool.on('release', (error, client) => seen.push([error, client, pool.idleCount]))
      const client = await pool.connect()
      client.release()
      const failure = new Error('x')
      const again = await pool.connect()
      again.release(failure)
      assert.deepEqual(seen, [
        [undefined, client, 0],
        [failure, client, 0],
      ])
    })
  })

  it('destroys a client after maxUses', async () => {
    await withPool({ max: 1, maxUses: 2 }, async (pool) => {
      const pids = []
      for (let i = 0; i < 4; i++) {
        const client = await pool.connect()
        pids.push(client.processID)
        client.release()
      }
      assert.equal(pids[0], pids[1])
      assert.notEqual(pids[1], pids[2])
      assert.equal(pids[2], pids[3])
    })
  })
})

describe('events', () => {
  it('come in the order connect, acquire, release, remove', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const seen = record(pool)
      const client = await pool.connect()
      client.release()
      const again = await pool.connect()
      const removed = event(pool, 'remove')
      again.release(true)
      await removed
      assert.deepEqual(seen, ['connect', 'acquire', 'release', 'acquire', 'release', 'remove'])
    })
  })

  it('of pool.query are those of a checkout', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const seen = record(pool)
      await pool.query('SELECT 1')
      await pool.query('SELECT 1')
      assert.deepEqual(seen, ['connect', 'acquire', 'release', 'acquire', 'release'])
    })
  })

  it('acquire comes before the caller gets the client', async () => {
    await withPool({ max: 1 }, async (pool) => {
      for (let i = 0; i < 2; i++) {
        let acquired
        pool.once('acquire', (client) => (acquired = client))
        const client = await pool.connect()
        assert.equal(acquired, client)
        client.release()
      }
    })
  })

  it('error tells of an idle client that was lost, once, with the client', async () => {
    await withPool({ max: 2 }, async (pool) => {
      const client = await pool.connect()
      client.release()
      const errors = []
      pool.on('error', (error, lost) => errors.push([error, lost]))
      const removed = event(pool, 'remove')
      await withClient({}, (other) => other.query('SELECT pg_terminate_backend($1)', [client.processID]))
      assert.deepEqual(await removed, [client])
      assert.equal(errors.length, 1)
      assert.equal(errors[0][0].code, '57P01')
      assert.equal(errors[0][0].client, client)
      assert.equal(errors[0][1], client)
      assert.equal(pool.totalCount, 0)
      assert.equal((await pool.query('SELECT 1 AS a')).rows[0].a, 1)
    })
  })

  it('a checked-out client that was lost is removed at its release', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const client = await pool.connect()
      const failed = event(client, 'error')
      client.on('error', () => {})
      await withClient({}, (other) => other.query('SELECT pg_terminate_backend($1)', [client.processID]))
      await failed
      assert.equal(pool.totalCount, 1)
      const removed = event(pool, 'remove')
      client.release()
      await removed
      assert.equal(pool.totalCount, 0)
    })
  })
})

describe('hooks', () => {
  it('onConnect sees new clients first, sync or async', async () => {
    for (const wait of [false, true]) {
      const seen = []
      const onConnect = (client) => {
        seen.push('hook')
        return wait ? client.query("SET application_name = 'hooked'") : undefined
      }
      await withPool({ max: 1, onConnect }, async (pool) => {
        pool.on('connect', () => seen.push('connect'))
        const { rows } = await pool.query('SHOW application_name')
        if (wait) assert.equal(rows[0].application_name, 'hooked')
        await pool.query('SELECT 1')
        assert.deepEqual(seen, ['hook', 'connect'])
      })
    }
  })

  it('an onConnect that fails rejects the caller and destroys the client', async () => {
    for (const onConnect of [
      () => {
        throw new Error('not this one')
      },
      async () => {
        throw new Error('not this one')
      },
    ]) {
      await withPool({ max: 1, onConnect }, async (pool) => {
        assert.equal((await rejection(pool.connect())).message, 'not this one')
        assert.equal(pool.totalCount, 0)
      })
    }
  })

  it('verify sees new clients only, and may refuse them', async () => {
    let refuse = false
    let calls = 0
    const verify = (client, done) => {
      calls++
      done(refuse ? new Error('refused') : undefined)
    }
    await withPool({ max: 1, verify }, async (pool) => {
      await pool.query('SELECT 1')
      await pool.query('SELECT 1')
      assert.equal(calls, 1)
    })
    refuse = true
    await withPool({ max: 1, verify }, async (pool) => {
      assert.equal((await rejection(pool.connect())).message, 'refused')
      assert.equal((await rejection(pool.query('SELECT 1'))).message, 'refused')
      await eventually(() => pool.totalCount === 0)
    })
  })

  it("Client and Promise can be one's own", async () => {
    class Mine extends pg.Client {}
    class Later extends Promise {}
    await withPool({ max: 1, Client: Mine, Promise: Later }, async (pool) => {
      const promise = pool.connect()
      assert.ok(promise instanceof Later)
      const client = await promise
      assert.ok(client instanceof Mine)
      client.release()
    })
  })

  it('log is called', async () => {
    const lines = []
    await withPool({ max: 1, log: (...args) => lines.push(args) }, (pool) => pool.query('SELECT 1'))
    assert.ok(lines.length > 0)
  })
})

describe('pool.query()', () => {
  it('takes every form', async () => {
    await withPool({ max: 1 }, async (pool) => {
      assert.deepEqual((await pool.query('SELECT 1 AS a')).rows, [{ a: 1 }])
      assert.deepEqual((await pool.query('SELECT $1::int AS a', [2])).rows, [{ a: 2 }])
      assert.deepEqual((await pool.query({ text: 'SELECT $1::int AS a', values: [3] })).rows, [{ a: 3 }])
      assert.deepEqual((await pool.query({ text: 'SELECT $1::int', rowMode: 'array' }, [4])).rows, [[4]])
      assert.deepEqual((await pool.query(new pg.Query('SELECT 5 AS a'))).rows, [{ a: 5 }])
      const called = await new Promise((resolve, reject) => {
        const returned = pool.query('SELECT 6 AS a', (error, result) => (error ? reject(error) : resolve(result)))
        assert.equal(returned, undefined)
      })
      assert.deepEqual(called.rows, [{ a: 6 }])
      const calledWithValues = await new Promise((resolve, reject) => {
        pool.query('SELECT $1::int AS a', [7], (error, result) => (error ? reject(error) : resolve(result)))
      })
      assert.deepEqual(calledWithValues.rows, [{ a: 7 }])
    })
  })

  it('refuses a function and what is no query', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const message = 'Passing a function as the first parameter to pool.query is not supported'
      const error = await new Promise((resolve) => pool.query(resolve))
      assert.equal(error.message, message)
      assert.equal((await rejection(pool.query(null))).message, 'Client was passed a null or undefined query')
      assert.equal((await rejection(pool.query())).name, 'TypeError')
      assert.equal((await pool.query('SELECT 1 AS a')).rows[0].a, 1)
    })
  })

  it("rejects with the query's error and serves the next", async () => {
    await withPool({ max: 1 }, async (pool) => {
      assert.equal((await rejection(pool.query('SELECT 1/0'))).code, '22012')
      const viaCallback = await new Promise((resolve) => pool.query('SELECT 1/0', (error) => resolve(error)))
      assert.equal(viaCallback.code, '22012')
      assert.equal((await pool.query('SELECT 1 AS a')).rows[0].a, 1)
    })
  })

  it('answers many callers on few connections, each with its own result', async () => {
    await withPool({ max: 3 }, async (pool) => {
      const numbers = Array.from({ length: 300 }, (_, i) => i)
      const answers = await Promise.all(numbers.map((n) => pool.query('SELECT $1::int AS n', [n])))
      assert.deepEqual(
        answers.map(({ rows }) => rows[0].n),
        numbers,
      )
      assert.ok(pool.totalCount <= 3)
    })
  })

  it('rejects what the lost connection was running', async () => {
    await withPool({ max: 1 }, async (pool) => {
      pool.on('error', () => {})
      const { rows } = await pool.query('SELECT pg_backend_pid() AS pid')
      const running = rejection(pool.query('SELECT pg_sleep(20)'))
      await withClient({}, (other) => other.query('SELECT pg_terminate_backend($1)', [rows[0].pid]))
      assert.equal((await running).code, '57P01')
      assert.equal((await pool.query('SELECT 1 AS a')).rows[0].a, 1)
    })
  })
})

describe('timeouts', () => {
  it('of a caller in the queue', async () => {
    await withPool({ max: 1, connectionTimeoutMillis: 100 }, async (pool) => {
      const client = await pool.connect()
      const started = Date.now()
      const error = await rejection(pool.connect())
      assert.equal(error.message, 'timeout exceeded when trying to connect')
      assert.ok(Date.now() - started >= 95)
      assert.equal(pool.waitingCount, 0)
      assert.equal((await rejection(pool.query('SELECT 1'))).message, 'timeout exceeded when trying to connect')
      client.release()
      assert.equal((await pool.query('SELECT 1 AS a')).rows[0].a, 1)
    })
  })

  it('of a connection that does not come about', async () => {
    const sockets = []
    const server = net.createServer((socket) => sockets.push(socket.on('error', () => {})))
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address()
    await withPool({ host: '127.0.0.1', port, max: 1, connectionTimeoutMillis: 100 }, async (pool) => {
      const error = await rejection(pool.connect())
      assert.equal(error.message, 'Connection terminated due to connection timeout')
      assert.equal(error.cause.message, 'Connection terminated unexpectedly')
      assert.deepEqual([pool.totalCount, pool.waitingCount], [0, 0])
    })
    for (const socket of sockets) socket.destroy()
    server.close()
  })

  it('close a client that was idle too long', async () => {
    await withPool({ max: 2, idleTimeoutMillis: 50 }, async (pool) => {
      const client = await pool.connect()
      const removed = event(pool, 'remove')
      client.release()
      assert.deepEqual([pool.totalCount, pool.idleCount], [1, 1])
      assert.deepEqual(await removed, [client])
      assert.deepEqual([pool.totalCount, pool.idleCount], [0, 0])
    })
  })

  it('keep `min` clients however long they are idle', async () => {
    await withPool({ max: 3, min: 1, idleTimeoutMillis: 50 }, async (pool) => {
      const clients = await Promise.all([pool.connect(), pool.connect(), pool.connect()])
      let removed = 0
      const two = new Promise((resolve) => pool.on('remove', () => ++removed === 2 && resolve()))
      for (const client of clients) client.release()
      await two
      await new Promise((resolve) => setTimeout(resolve, 120))
      assert.equal(removed, 2)
      assert.deepEqual([pool.totalCount, pool.idleCount], [1, 1])
    })
  })

  it("end a client's lifetime, when it is idle or at its release", async () => {
    await withPool({ max: 1, maxLifetimeSeconds: 0.2, idleTimeoutMillis: 0 }, async (pool) => {
      const client = await pool.connect()
      const removed = event(pool, 'remove')
      client.release()
      assert.deepEqual(await removed, [client])
      assert.equal(pool.totalCount, 0)
      const held = await pool.connect()
      await eventually(() => pool.expiredCount === 1)
      assert.equal(pool.totalCount, 1)
      const gone = event(pool, 'remove')
      held.release()
      await gone
      assert.deepEqual([pool.totalCount, pool.expiredCount], [0, 0])
    })
  })
})

describe('end()', () => {
  it('closes idle clients, waits for the others, and refuses new callers', async () => {
    await withPool({ max: 2 }, async (pool) => {
      const held = await pool.connect()
      await pool.query('SELECT 1')
      assert.equal(pool.totalCount, 2)
      let ended = false
      const ending = pool.end().then(() => (ended = true))
      assert.deepEqual([pool.ending, pool.ended], [true, false])
      const refused = 'Cannot use a pool after calling end on the pool'
      assert.equal((await rejection(pool.connect())).message, refused)
      assert.equal((await rejection(pool.query('SELECT 1'))).message, refused)
      assert.equal((await rejection(pool.end())).message, 'Called end on pool more than once')
      await tick()
      assert.equal(ended, false)
      assert.deepEqual((await held.query('SELECT 1 AS a')).rows, [{ a: 1 }])
      held.release()
      await ending
      assert.deepEqual([pool.ended, pool.totalCount, pool.idleCount], [true, 0, 0])
    })
  })

  it('resolves for a pool that was never used, and calls back', async () => {
    const pool = new pg.Pool(await settings())
    await pool.end()
    assert.equal(pool.ended, true)
    const other = new pg.Pool(await settings())
    await new Promise((resolve) => other.end(resolve))
  })

  it('leaves no connection on the server', async () => {
    await withPool({ max: 3, application_name: 'pool to be gone' }, async (pool) => {
      await Promise.all(Array.from({ length: 9 }, () => pool.query('SELECT 1')))
      await pool.end()
    })
    await withClient({}, (other) =>
      eventually(async () => {
        const { rows } = await other.query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'pool to be gone'")
        return rows.length === 0
      }),
    )
  })
})

describe('options', () => {
  it("have pg-pool's defaults", async () => {
    const pool = new pg.Pool()
    const { max, min, maxUses, idleTimeoutMillis, allowExitOnIdle, maxLifetimeSeconds } = pool.options
    assert.deepEqual(
      { max, min, maxUses, idleTimeoutMillis, allowExitOnIdle, maxLifetimeSeconds },
      { max: 10, min: 0, maxUses: Infinity, idleTimeoutMillis: 10000, allowExitOnIdle: false, maxLifetimeSeconds: 0 },
    )
    assert.equal(new pg.Pool({ poolSize: 4 }).options.max, 4)
    assert.equal(new pg.Pool({ max: 0 }).options.max, 10)
    const given = { max: 2 }
    const copied = new pg.Pool(given)
    copied.options.max = 3
    assert.equal(given.max, 2)
    copied.anything = 'extra properties are fine'
  })

  it('reach the clients', async () => {
    await withPool({ max: 1, application_name: 'by the pool', query_timeout: 100 }, async (pool) => {
      assert.equal((await pool.query('SHOW application_name')).rows[0].application_name, 'by the pool')
      assert.equal((await rejection(pool.query('SELECT pg_sleep(1)'))).message, 'Query read timeout')
    })
  })
})

describe('a network that fails', () => {
  it('is survived: the next query connects anew', async () => {
    const target = await settings()
    const proxy = await startProxy(target)
    await withPool({ host: proxy.host, port: proxy.port, max: 2 }, async (pool) => {
      const lost = []
      pool.on('error', (error) => lost.push(error.code || error.message))
      await Promise.all([pool.query('SELECT 1'), pool.query('SELECT 1')])
      const removed = event(pool, 'remove')
      proxy.cut()
      await removed
      await eventually(() => pool.totalCount === 0)
      assert.deepEqual(lost, ['ECONNRESET', 'ECONNRESET'])
      assert.equal((await pool.query('SELECT 1 AS a')).rows[0].a, 1)
    })
    await proxy.close()
  })
})
