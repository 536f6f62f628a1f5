'use strict'

/**
 * What heys-db promises beyond node-postgres. Every test here fails on plain `pg` (HEYS_PROVIDER=pg), which
 * fails-on-pg.test.js checks.
 */

const assert = require('node:assert/strict')
const { execFile, execFileSync } = require('node:child_process')
const net = require('node:net')
const { describe, it } = require('node:test')
const { provider, pg } = require('../provider')
const { settings, environment } = require('../server')
const { withClient, withPool, rejection, eventually } = require('../support')

const limit = { timeout: provider === 'pg' ? 4000 : 15000 }
const event = (emitter, name) => new Promise((resolve) => emitter.once(name, (...args) => resolve(args)))

/** Runs `fn` with getPool()'s environment set, and closes the shared pools. */
async function shared(env, fn) {
  const saved = { ...process.env }
  Object.assign(process.env, await environment(), env)
  try {
    return await fn()
  } finally {
    await pg.closePool()
    for (const key of Object.keys(process.env)) if (!(key in saved)) delete process.env[key]
    Object.assign(process.env, saved)
  }
}

/** The number of statements that run on the server under this name. */
async function running(name) {
  return withClient({}, async (client) => {
    const { rows } = await client.query(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1 AND state = 'active'",
      [name],
    )
    return rows[0].n
  })
}

/** Collects what is said on console.warn meanwhile. */
async function warnings(fn) {
  const { warn } = console
  const lines = []
  console.warn = (...parts) => lines.push(parts.join(' '))
  try {
    await fn()
  } finally {
    console.warn = warn
  }
  return lines
}

describe('query_timeout', limit, () => {
  it('cancels the statement on the server', async () => {
    await withPool({ max: 1, application_name: 'cancelled', query_timeout: 200 }, async (pool) => {
      const error = await rejection(pool.query('SELECT pg_sleep(10)'))
      assert.equal(error.message, 'Query read timeout')
      const started = Date.now()
      await eventually(async () => (await running('cancelled')) === 0)
      assert.ok(Date.now() - started < 5000)
    })
  })

  it('cancels once more when the server has not heard of it', async () => {
    const { host, port } = await settings()
    let lost = 0
    // Swallows the first CancelRequest (Int32 16, Int32 80877102), as if it had come before the statement.
    const server = net.createServer((near) => {
      near.once('data', (first) => {
        if (first.length === 16 && first.readInt32BE(4) === 80877102 && lost++ === 0) return near.end()
        const far = net.connect(port, host).on('error', () => near.destroy())
        far.write(first)
        near.pipe(far).pipe(near)
      })
      near.on('error', () => {})
    })
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    const through = { host: '127.0.0.1', port: server.address().port, application_name: 'deaf' }
    await withPool({ ...through, max: 1, query_timeout: 200 }, async (pool) => {
      const { rows } = await pool.query('SELECT pg_backend_pid() AS pid')
      const started = Date.now()
      assert.equal((await rejection(pool.query('SELECT pg_sleep(10)'))).message, 'Query read timeout')
      const after = await pool.query({ text: 'SELECT pg_backend_pid() AS pid', query_timeout: 4000 })
      assert.deepEqual(after.rows, rows)
      assert.ok(Date.now() - started < 4000)
      assert.ok(lost > 1, `${lost} cancels`)
    })
    server.close()
  })

  it('hands no busy client to the next caller', async () => {
    await withPool({ max: 1, query_timeout: 200 }, async (pool) => {
      const first = await pool.query('SELECT pg_backend_pid() AS pid')
      await rejection(pool.query('SELECT pg_sleep(10)'))
      const started = Date.now()
      const second = await pool.query({ text: 'SELECT pg_backend_pid() AS pid', query_timeout: 5000 })
      assert.ok(Date.now() - started < 3000)
      // The same connection, once its statement and the cancel were over.
      assert.equal(second.rows[0].pid, first.rows[0].pid)
      for (let i = 0; i < 20; i++) await pool.query('SELECT pg_sleep(0.01)')
    })
  })

  it('leaves a released client out of use until it is over', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const client = await pool.connect()
      const error = await rejection(client.query({ text: 'SELECT pg_sleep(10)', query_timeout: 100 }))
      assert.equal(error.message, 'Query read timeout')
      client.release()
      const started = Date.now()
      await pool.query('SELECT 1')
      assert.ok(Date.now() - started < 3000)
    })
  })
})

describe('a released client', limit, () => {
  it('with queries still running is not handed out before they are done', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const client = await pool.connect()
      let done = false
      const slow = client.query('SELECT pg_sleep(0.2)').then(() => (done = true))
      client.release()
      const next = await pool.connect()
      assert.equal(done, true)
      next.release()
      await slow
    })
  })

  it('inside a transaction is rolled back before its next use, and a warning names it', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const lines = await warnings(async () => {
        const client = await pool.connect()
        const pid = client.processID
        await client.query('BEGIN; CREATE TEMP TABLE left_behind (a int)')
        client.release()
        const next = await pool.connect()
        assert.equal(next.processID, pid)
        assert.equal(next.getTransactionStatus(), 'I')
        const { rows } = await next.query("SELECT to_regclass('left_behind') AS t")
        assert.equal(rows[0].t, null)
        next.release()
        assert.ok(pid)
      })
      assert.equal(lines.length, 1)
      assert.match(lines[0], /process \d+ was released inside an open transaction/)
    })
  })

  it('inside a failed transaction is rolled back, too', async () => {
    await withPool({ max: 1 }, async (pool) => {
      await warnings(async () => {
        const client = await pool.connect()
        await client.query('BEGIN')
        await rejection(client.query('SELECT 1/0'))
        client.release()
        assert.deepEqual((await pool.query('SELECT 1 AS a')).rows, [{ a: 1 }])
      })
    })
  })
})

describe('pool.query()', limit, () => {
  it('keeps its connection after a plain SQL error', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const before = await pool.query('SELECT pg_backend_pid() AS pid')
      await rejection(pool.query('SELECT 1/0'))
      const after = await pool.query('SELECT pg_backend_pid() AS pid')
      assert.equal(after.rows[0].pid, before.rows[0].pid)
    })
  })
})

describe('a checked-out client that loses its connection', limit, () => {
  it('rejects its query and never ends the process', async () => {
    const program = `
      const { pg } = require(${JSON.stringify(require.resolve('../provider'))})
      async function main() {
        const pool = new pg.Pool({ ...JSON.parse(process.argv[1]), max: 2 })
        pool.on('error', () => {})
        const client = await pool.connect()
        const idle = await pool.connect()
        const waiting = client.query('SELECT pg_sleep(20)').catch((error) => error.code)
        await idle.query('SELECT pg_terminate_backend($1)', [client.processID])
        console.log(await waiting)
        idle.query('SELECT pg_terminate_backend(pg_backend_pid())').catch((error) => console.log(error.code))
        await new Promise((resolve) => idle.once('end', resolve))
        client.release()
        idle.release()
        console.log((await pool.query('SELECT 1 AS a')).rows[0].a, pool.totalCount)
        await pool.end()
      }
      main()`
    const target = JSON.stringify(await settings())
    const printed = await new Promise((resolve, reject) => {
      execFile(process.execPath, ['-e', program, target], (error, stdout) => (error ? reject(error) : resolve(stdout)))
    })
    assert.equal(printed, '57P01\n57P01\n1 1\n')
  })
})

describe('end()', limit, () => {
  it('rejects the callers still waiting', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const held = await pool.connect()
      const waiting = rejection(pool.connect())
      const querying = rejection(pool.query('SELECT 1'))
      const ending = pool.end()
      assert.equal((await waiting).message, 'Cannot use a pool after calling end on the pool')
      assert.equal((await querying).message, 'Cannot use a pool after calling end on the pool')
      held.release()
      await ending
    })
  })
})

describe('withTransaction()', limit, () => {
  it('rejects a COMMIT that became a ROLLBACK', async () => {
    await shared({}, async () => {
      const error = await rejection(
        pg.withTransaction(async (client) => {
          await client.query('SELECT 1/0').catch(() => {})
          return 'all is well'
        }),
      )
      assert.equal(error.code, 'HEYS_COMMIT_ROLLED_BACK')
      assert.equal((await pg.getPool().query('SELECT 1 AS a')).rows[0].a, 1)
    })
  })
})

describe('withAdmission()', limit, () => {
  it('keeps nested checkouts from starving each other', async () => {
    await shared({ POOL_MAX_SIZE: '3', POOL_CONNECT_TIMEOUT: '3000' }, async () => {
      const handler = pg.withAdmission(
        async () => {
          const pool = pg.getPool()
          const outer = await pool.connect()
          try {
            await outer.query('SELECT pg_sleep(0.01)')
            await pool.query('SELECT pg_sleep(0.01)')
            return { statusCode: 200 }
          } finally {
            outer.release()
          }
        },
        // (max - 1) / (k - 1) with max 3 and k 2.
        { limit: 2 },
      )
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => handler({}, { getRemainingTimeInMillis: () => 10000 })),
      )
      assert.deepEqual(new Set(answers.map(({ statusCode }) => statusCode)), new Set([200]))
    })
  })
})

describe('an idle connection that the server closed unnoticed', limit, () => {
  it('is replaced within the same checkout', async () => {
    const target = await settings()
    await withPool({ max: 1 }, async (pool) => {
      pool.on('error', () => {})
      const { rows } = await pool.query('SELECT pg_backend_pid() AS pid')
      // Another process ends it while this one's event loop stands still.
      const program = `
        const { pg } = require(${JSON.stringify(require.resolve('../provider'))})
        const client = new pg.Client(JSON.parse(process.argv[1]))
        client.connect().then(() => client.query('SELECT pg_terminate_backend(${rows[0].pid}, 5000)')).then(() => client.end())`
      execFileSync(process.execPath, ['-e', program, JSON.stringify(target)])
      const after = await pool.query('SELECT pg_backend_pid() AS pid')
      assert.notEqual(after.rows[0].pid, rows[0].pid)
      assert.equal(pool.totalCount, 1)
    })
  })
})

describe('defaults.strictPg', limit, () => {
  it('switches the differences off for all pools and clients made from then on', async () => {
    const keeps = async (options) => {
      const pids = []
      await withPool({ max: 1, ...options }, async (pool) => {
        pids.push((await pool.query('SELECT pg_backend_pid() AS pid')).rows[0].pid)
        await rejection(pool.query('SELECT 1/0'))
        pids.push((await pool.query('SELECT pg_backend_pid() AS pid')).rows[0].pid)
      })
      return pids[0] === pids[1]
    }
    assert.equal(Object.keys(pg.defaults).includes('strictPg'), false)
    pg.defaults.strictPg = true
    try {
      assert.equal(await keeps({}), false)
      assert.equal(await keeps({ strictPg: false }), true)
      assert.equal(await keeps({ keepsAfterSqlError: true }), true)
    } finally {
      pg.defaults.strictPg = false
    }
    assert.equal(await keeps({}), true)
  })
})

describe('strictPg', limit, () => {
  it('switches the differences off', async () => {
    assert.ok(pg.getPool, 'only heys-db has it')
    await withPool({ max: 1, strictPg: true }, async (pool) => {
      const before = await pool.query('SELECT pg_backend_pid() AS pid')
      await rejection(pool.query('SELECT 1/0'))
      const after = await pool.query('SELECT pg_backend_pid() AS pid')
      assert.notEqual(after.rows[0].pid, before.rows[0].pid)
      const client = await pool.connect()
      await client.query('BEGIN')
      client.release()
      const next = await pool.connect()
      assert.equal(next.getTransactionStatus(), 'T')
      const failed = event(next, 'error')
      next.on('error', () => {})
      await withClient({}, (other) => other.query('SELECT pg_terminate_backend($1)', [next.processID]))
      await failed
      next.release()
    })
  })
})
