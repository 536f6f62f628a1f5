'use strict'

/** One-shot queries that share a busy connection: who may, in which order, and what a stall or a cancel does to them. */

const assert = require('node:assert/strict')
const { before, describe, it } = require('node:test')
const { Pool: PgPool } = require('pg')
const { pg } = require('../provider')
const { settings, environment } = require('../server')
const { withClient, withPool, rejection, eventually } = require('../support')
const { startProxy } = require('../wire-proxy')

const limit = { timeout: 60000 }
const BY_ID = 'SELECT id, note FROM shared_table WHERE id = $1'
/** How often a text runs before others may go behind it, though the machine stalls once or twice meanwhile. */
const KNOWN = 250
/** A machine that stalls more often needs more. */
const ROUNDS = 40

before(() =>
  withClient({}, (client) =>
    client.query(`DROP TABLE IF EXISTS shared_table, locked_table; CREATE TABLE shared_table (id int PRIMARY KEY, note text);
      CREATE TABLE locked_table (id int PRIMARY KEY, note text);
      INSERT INTO shared_table SELECT n, 'note ' || n FROM generate_series(1, 1000) AS n;
      INSERT INTO locked_table SELECT n, 'note ' || n FROM generate_series(1, 1000) AS n; ANALYZE`),
  ),
)

async function repeat(pool, text, values) {
  for (let i = 0; i < KNOWN; i++) await pool.query(text, values)
}

/** Lets the library learn that `text` is fast, until it sends others behind it. */
async function learn(pool, text, values) {
  for (let round = 0; round < ROUNDS; round++) {
    await repeat(pool, text, values)
    const burst = Array.from({ length: pool.options.max + 2 }, () => pool.query(text, values))
    const shared = pool.waitingCount < 2
    await Promise.all(burst)
    if (shared) return
  }
  throw new Error(`${text} never became fast enough`)
}

/** Runs `fn` while somebody else holds a lock that every statement on `table` waits for. */
async function whileLocked(table, fn) {
  return withClient({ application_name: 'holder' }, async (holder) => {
    await holder.query(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`)
    let open = true
    const unlock = async () => {
      if (open) await holder.query('ROLLBACK')
      open = false
    }
    try {
      return await fn(unlock)
    } finally {
      await unlock()
    }
  })
}

/** Waits until a statement of this application waits for a lock. */
const stalled = (name) =>
  withClient({}, (client) =>
    eventually(async () => {
      const { rows } = await client.query(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'",
        [name],
      )
      return rows[0].n > 0
    }),
  )

/** Runs `fn` with a pool behind a proxy, which counts its connections and its cancels. */
async function withProxiedPool(options, fn) {
  const proxy = await startProxy(await settings())
  try {
    return await withPool({ ...options, host: proxy.host, port: proxy.port }, (pool) => fn(pool, proxy))
  } finally {
    await proxy.close()
  }
}

const queries = (pool, count, text = BY_ID) =>
  Array.from({ length: count }, (_, i) => pool.query(text, [i + 1]).then(({ rows }) => rows[0].note))

describe('queries that share a connection', limit, () => {
  it('go behind a fast SELECT, at most 7, and the others wait', () =>
    withPool({ max: 1 }, async (pool) => {
      await learn(pool, BY_ID, [1])
      await whileLocked('shared_table', async (unlock) => {
        const all = queries(pool, 20)
        assert.equal(pool.waitingCount, 12)
        assert.deepEqual([pool.totalCount, pool.idleCount], [1, 0])
        await unlock()
        assert.deepEqual(
          await Promise.all(all),
          all.map((_, i) => `note ${i + 1}`),
        )
      })
      assert.deepEqual([pool.waitingCount, pool.idleCount], [0, 1])
    }))

  for (const [what, options] of [
    ['pipelineQueries: 1', { pipelineQueries: 1 }],
    ['pipelineQueries: false', { pipelineQueries: false }],
    ['strictPg', { strictPg: true }],
    ['pipeline', { pipeline: true }],
  ]) {
    it(`never do with ${what}`, () =>
      withPool({ max: 1, ...options }, async (pool) => {
        await repeat(pool, BY_ID, [1])
        await whileLocked('shared_table', async (unlock) => {
          const all = queries(pool, 20)
          assert.equal(pool.waitingCount, 19)
          await unlock()
          await Promise.all(all)
        })
      }))
  }

  it('are limited by pipelineQueries, and by PIPELINE_QUERIES in getPool()', async () => {
    await withPool({ max: 1, pipelineQueries: 3 }, async (pool) => {
      await learn(pool, BY_ID, [1])
      await whileLocked('shared_table', async (unlock) => {
        const all = queries(pool, 20)
        assert.equal(pool.waitingCount, 17)
        await unlock()
        await Promise.all(all)
      })
    })
    const saved = { ...process.env }
    try {
      for (const [value, waiting] of [
        ['off', 19],
        ['2', 18],
      ]) {
        Object.assign(process.env, await environment(), { PIPELINE_QUERIES: value, POOL_MAX_SIZE: '1' })
        await (value === 'off' ? repeat : learn)(pg.getPool(), BY_ID, [1])
        await whileLocked('shared_table', async (unlock) => {
          const all = queries(pg.getPool(), 20)
          assert.equal(pg.getPool().waitingCount, waiting, value)
          await unlock()
          await Promise.all(all)
        })
        await pg.closePool()
      }
    } finally {
      await pg.closePool()
      for (const key of Object.keys(process.env)) if (!(key in saved)) delete process.env[key]
      Object.assign(process.env, saved)
    }
  })

  it('do not while somebody watches checkouts', () =>
    withPool({ max: 1 }, async (pool) => {
      await learn(pool, BY_ID, [1])
      pool.on('acquire', () => {})
      await whileLocked('shared_table', async (unlock) => {
        const all = queries(pool, 20)
        assert.equal(pool.waitingCount, 19)
        await unlock()
        await Promise.all(all)
      })
    }))

  for (const text of [
    'SELECT id, note FROM shared_table WHERE id = $1 FOR UPDATE',
    'UPDATE shared_table SET note = note WHERE id = $1 RETURNING note',
    'SELECT note, pg_sleep(0) FROM shared_table WHERE id = $1',
  ]) {
    it(`never go behind ${text}`, () =>
      withPool({ max: 1 }, async (pool) => {
        await repeat(pool, text, [1])
        await whileLocked('shared_table', async (unlock) => {
          const all = queries(pool, 20, text)
          assert.equal(pool.waitingCount, 19)
          await unlock()
          await Promise.all(all)
        })
      }))
  }

  it('never go behind a text that is new, or has been slow', () =>
    withPool({ max: 1, application_name: 'new' }, async (pool) => {
      const text = 'SELECT note FROM shared_table WHERE id = $1 AND note IS NOT NULL'
      for (let i = 0; i < 5; i++) await pool.query(text, [1])
      const waits = () =>
        whileLocked(
          'shared_table',
          async (unlock) => {
            const all = queries(pool, 20, text)
            const { waitingCount } = pool
            await stalled('new')
            await unlock()
            await Promise.all(all)
            return waitingCount
          },
          10,
        )
      assert.equal(await waits(), 19)
      await learn(pool, text, [1])
      assert.equal(await waits(), 12)
      // Each stall is a slow run; one in a hundred may be.
      let stalls = 0
      while ((await waits()) !== 19) assert.ok(++stalls < 120, 'slow runs are not counted')
    }))

  it('never go behind one that has run for 5 ms', () =>
    withPool({ max: 1, application_name: 'sleeper' }, async (pool) => {
      await learn(pool, BY_ID, [1])
      await whileLocked('shared_table', async (unlock) => {
        const first = queries(pool, 1)
        await stalled('sleeper')
        const others = queries(pool, 5)
        assert.equal(pool.waitingCount, 5)
        await unlock()
        await Promise.all([...first, ...others])
      })
    }))

  it('fail alone', () =>
    withPool({ max: 1 }, async (pool) => {
      const text = 'SELECT 10 / $1::int AS n'
      await learn(pool, text, [1])
      const values = Array.from({ length: 40 }, (_, i) => i % 5)
      const answers = await Promise.allSettled(values.map((n) => pool.query(text, [n])))
      answers.forEach(({ status, value, reason }, i) => {
        if (values[i] === 0) assert.equal(reason.code, '22012')
        else assert.equal(status === 'fulfilled' && value.rows[0].n, Math.trunc(10 / values[i]))
      })
      assert.equal(pool.totalCount, 1)
    }))

  it('keep the order of the queue: nobody overtakes connect()', () =>
    withPool({ max: 1 }, async (pool) => {
      await learn(pool, BY_ID, [1])
      const order = []
      const note = (what) => () => order.push(what)
      const before = queries(pool, 10).map((query, i) => query.then(note(`before ${i}`)))
      const client = pool.connect()
      const after = queries(pool, 3).map((query, i) => query.then(note(`after ${i}`)))
      await client.then(async (client) => {
        order.push('connected')
        await client.query(BY_ID, [1])
        assert.equal(pool.waitingCount, 3)
        client.release()
      })
      await Promise.all([...before, ...after])
      // The client is handed on in the moment in which the last query is answered, a few microtasks before its promise.
      assert.ok(order.indexOf('connected') >= 8 && order.indexOf('connected') < order.indexOf('after 0'), `${order}`)
      assert.equal(order.length, 14)
    }))

  it('leave a transaction that pool.query() began to nobody', () =>
    withPool({ max: 1, log: () => {} }, async (pool) => {
      await learn(pool, BY_ID, [1])
      const all = [...queries(pool, 3), pool.query('BEGIN'), ...queries(pool, 3)]
      await Promise.all(all)
      const { rows } = await pool.query(
        'SELECT pg_current_xact_id_if_assigned() IS NULL AS none, now() = statement_timestamp() AS alone',
      )
      assert.deepEqual(rows, [{ none: true, alone: true }])
    }))

  it('are all sent again without a name when their table has changed', () =>
    withPool({ max: 1 }, async (pool) => {
      const text = 'SELECT * FROM changed_table WHERE id = $1'
      await pool.query('DROP TABLE IF EXISTS changed_table; CREATE TABLE changed_table AS TABLE shared_table')
      await learn(pool, text, [1])
      for (const change of ['ADD more int DEFAULT 7', 'DROP more', 'ADD more int DEFAULT 8']) {
        await withClient({}, (client) => client.query(`ALTER TABLE changed_table ${change}`))
        const more = /DEFAULT/.test(change) ? { more: Number(change.at(-1)) } : {}
        const all = Array.from({ length: 20 }, (_, i) => pool.query(text, [i + 1]))
        for (const [i, { rows }] of (await Promise.all(all)).entries()) {
          assert.deepEqual(rows, [{ id: i + 1, note: `note ${i + 1}`, ...more }])
        }
        await learn(pool, text, [1])
      }
    }))

  it('are sent in full when their text was forgotten while they waited', () =>
    withPool({ max: 1 }, async (pool) => {
      await learn(pool, BY_ID, [1])
      const client = await pool.connect()
      const waiting = queries(pool, 3)
      const simple = pool.query("SELECT 'simple' AS note")
      for (let n = 0; n < 1100; n++) for (let i = 0; i < 2; i++) await client.query(`SELECT ${n} + $1::int`, [1])
      client.release()
      assert.deepEqual(await Promise.all(waiting), ['note 1', 'note 2', 'note 3'])
      assert.equal((await simple).rows[0].note, 'simple')
    }))

  it('are all rejected when their connection is lost, and the pool goes on', () =>
    withPool({ max: 1, application_name: 'lost' }, async (pool) => {
      pool.on('error', () => {})
      await learn(pool, BY_ID, [1])
      await whileLocked('shared_table', async (unlock) => {
        const all = Promise.allSettled(queries(pool, 8))
        await stalled('lost')
        await withClient({}, (client) =>
          client.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lost'"),
        )
        await unlock()
        for (const { status } of await all) assert.equal(status, 'rejected')
      })
      assert.deepEqual(await Promise.all(queries(pool, 2)), ['note 1', 'note 2'])
      assert.equal(pool.totalCount, 1)
    }))
})

describe('a time-out among queries that share a connection', limit, () => {
  it('of the head cancels it alone; those behind it are answered', () =>
    withPool({ max: 1, application_name: 'head' }, async (pool) => {
      const text = 'SELECT note FROM locked_table WHERE id = $1'
      await learn(pool, BY_ID, [1])
      await learn(pool, text, [1])
      await whileLocked('locked_table', async () => {
        const head = rejection(pool.query({ text, values: [1], query_timeout: 200 }))
        const behind = queries(pool, 7)
        assert.equal(pool.waitingCount, 0)
        assert.equal((await head).message, 'Query read timeout')
        assert.deepEqual(
          await Promise.all(behind),
          behind.map((_, i) => `note ${i + 1}`),
        )
      })
      // The end of the cancel may be seen after the answers.
      await eventually(() => pool.idleCount === 1)
      assert.equal(pool.totalCount, 1)
    }))

  it('of one that waits behind others cancels it only when its turn has come', () =>
    withProxiedPool({ max: 1, application_name: 'follower' }, async (pool, proxy) => {
      const text = 'SELECT note FROM locked_table WHERE id = $1'
      await learn(pool, BY_ID, [1])
      await learn(pool, text, [1])
      await whileLocked('shared_table', (unlockHead) =>
        whileLocked('locked_table', async () => {
          const head = queries(pool, 1)
          const late = rejection(pool.query({ text, values: [1], query_timeout: 200 }))
          const last = queries(pool, 1)
          assert.equal(pool.waitingCount, 0)
          assert.equal((await late).message, 'Query read timeout')
          assert.equal(pool.idleCount, 0)
          await stalled('follower')
          assert.equal(proxy.accepted, 1, 'a cancel came before its turn')
          await unlockHead()
          assert.deepEqual(await Promise.all([...head, ...last]), ['note 1', 'note 1'])
        }),
      )
      await eventually(() => pool.idleCount === 1)
    }))

  it('of one that waits behind others leaves its place to nobody before its end', () =>
    withPool({ max: 1 }, async (pool) => {
      const text = 'SELECT note FROM locked_table WHERE id = $1'
      await learn(pool, BY_ID, [1])
      await learn(pool, text, [1])
      await whileLocked('shared_table', (unlockHead) =>
        whileLocked('locked_table', async () => {
          const [head] = queries(pool, 1)
          const late = rejection(pool.query({ text, values: [1], query_timeout: 200 }))
          assert.equal(pool.waitingCount, 0)
          assert.equal((await late).message, 'Query read timeout')
          const runs = pool.connect().then((client) => {
            const { activeQuery } = client
            client.release()
            return activeQuery
          })
          await unlockHead()
          assert.equal(await head, 'note 1')
          // It still runs: its cancel is on its way.
          assert.deepEqual([pool.waitingCount, pool.idleCount], [1, 0])
          assert.equal(await runs, null)
        }),
      )
    }))

  it('of one that waits behind others does not make their head young again', () =>
    withPool({ max: 1 }, async (pool) => {
      const text = 'SELECT note FROM locked_table WHERE id = $1'
      await learn(pool, BY_ID, [1])
      await learn(pool, text, [1])
      await whileLocked('shared_table', async (unlock) => {
        const [head] = queries(pool, 1)
        const late = rejection(pool.query({ text, values: [1], query_timeout: 200 }))
        assert.equal(pool.waitingCount, 0)
        assert.equal((await late).message, 'Query read timeout')
        const [next] = queries(pool, 1)
        assert.equal(pool.waitingCount, 1)
        await unlock()
        assert.deepEqual(await Promise.all([head, next]), ['note 1', 'note 1'])
      })
    }))

  it('hits nobody else, however often heads are cancelled', async () =>
    withPool({ max: 2, application_name: 'often' }, async (pool) => {
      const text = 'SELECT note FROM locked_table WHERE id = $1'
      await learn(pool, BY_ID, [1])
      for (let round = 0; round < 10; round++) {
        await learn(pool, text, [1])
        await learn(pool, BY_ID, [1])
        await whileLocked('locked_table', async () => {
          const heads = [1, 2].map((id) => rejection(pool.query({ text, values: [id], query_timeout: 20 + round })))
          const behind = queries(pool, 30)
          for (const head of heads) assert.equal((await head).message, 'Query read timeout')
          assert.deepEqual(
            await Promise.all(behind),
            behind.map((_, i) => `note ${i + 1}`),
          )
        })
      }
    }))
})

describe('a stall', { timeout: 120000 }, () => {
  const CALLERS = 64
  const MILLIS = 1500
  /** Of a caller's queries one in so many is on the table that gets locked. */
  const ONE_IN = 40

  /** Latencies of callers who work without a pause, while another holds a lock for a tenth of the time. */
  async function latencies(pool) {
    const locked = 'SELECT note FROM locked_table WHERE id = $1'
    await repeat(pool, BY_ID, [1])
    await repeat(pool, locked, [1])
    const times = []
    const end = performance.now() + MILLIS
    const caller = async (number) => {
      for (let i = number; performance.now() < end; i++) {
        const begun = performance.now()
        await pool.query(i % ONE_IN === 0 ? locked : BY_ID, [1 + (i % 1000)])
        times.push(performance.now() - begun)
      }
    }
    const holder = withClient({}, async (client) => {
      while (performance.now() < end) {
        await client.query('BEGIN; LOCK TABLE locked_table IN ACCESS EXCLUSIVE MODE')
        await new Promise((resolve) => setTimeout(resolve, 30))
        await client.query('ROLLBACK')
        await new Promise((resolve) => setTimeout(resolve, 270))
      }
    })
    await Promise.all([holder, ...Array.from({ length: CALLERS }, (_, number) => caller(number * 7))])
    times.sort((a, b) => a - b)
    return times[Math.floor(times.length * 0.99)]
  }

  it("is felt by no more of 64 callers than in pg-pool's queue: p99 at most 1.1 times", async () => {
    const measured = { pg: [], heys: [] }
    for (let round = 0; round < 3; round++) {
      for (const [name, Pool] of Object.entries({ pg: PgPool, heys: pg.Pool })) {
        const pool = new Pool({ ...(await settings()), max: 3 })
        measured[name].push(await latencies(pool))
        await pool.end()
      }
    }
    const [theirs, ours] = [measured.pg, measured.heys].map((all) => all.sort((a, b) => a - b)[1])
    console.log(
      `p99 with a held lock: pg ${theirs.toFixed(1)} ms, heys-db ${ours.toFixed(1)} ms, ${(ours / theirs).toFixed(2)}x`,
    )
    assert.ok(ours <= theirs * 1.1, `p99 ${ours.toFixed(1)} ms against ${theirs.toFixed(1)} ms`)
  })
})
