'use strict'

/** Rows and COPY as streams, heys-db's own. */

const assert = require('node:assert/strict')
const { describe, it } = require('node:test')
const { Readable, Writable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { setTimeout: sleep } = require('node:timers/promises')
const { settings } = require('../server')
const { pg } = require('../provider')
const { eventually, rejection, withClient, withPool } = require('../support')

async function answers(client) {
  assert.deepEqual((await client.query('SELECT $1::int AS a', [42])).rows, [{ a: 42 }])
}

describe('client.stream()', () => {
  it('gives every row, in order, with parameters and types', async () => {
    await withClient({}, async (client) => {
      let n = 0
      for await (const row of client.stream('SELECT n, now() AS at FROM generate_series(1, $1::int) AS n', [50000])) {
        assert.equal(row.n, ++n)
        if (n === 1) assert.ok(row.at instanceof Date)
      }
      assert.equal(n, 50000)
      await answers(client)
    })
  })

  it('has an empty result, several at once, and rowMode array', async () => {
    await withClient({}, async (client) => {
      for await (const row of client.stream('SELECT 1 WHERE false')) assert.fail(row)
      const taken = async (stream) => {
        const rows = []
        for await (const row of stream) rows.push(row)
        return rows
      }
      const array = client.stream({ text: 'SELECT 1, 2', rowMode: 'array' })
      assert.deepEqual(await Promise.all([taken(array), taken(client.stream('SELECT 3 AS a'))]), [[[1, 2]], [{ a: 3 }]])
    })
  })

  it('reads no further than rows are taken', async () => {
    await withClient({}, async (client) => {
      const before = process.memoryUsage.rss()
      const rows = client.stream("SELECT repeat('x', 1000) AS x FROM generate_series(1, 400000)")
      await rows.next()
      await sleep(500)
      assert.ok(rows.rows.length < 2000, `${rows.rows.length} rows wait`)
      assert.ok(process.memoryUsage.rss() - before < 50e6)
      await rows.return()
      await answers(client)
    })
  })

  it('cancels the statement when the loop is left', async () => {
    await withClient({}, async (watcher) => {
      await withClient({}, async (client) => {
        const endless = "SELECT generate_series(1, 1000000000) AS n, repeat('x', 100)"
        for await (const row of client.stream(endless)) if (row.n === 10) break
        await answers(client)
        const { rows } = await watcher.query('SELECT state, query FROM pg_stat_activity WHERE pid = $1', [
          client.processID,
        ])
        assert.equal(rows[0].state, 'idle')
      })
    })
  })

  it('rejects with the error of the statement, after the rows before it, and of a parser', async () => {
    await withClient({}, async (client) => {
      const rows = []
      const error = await rejection(
        (async () => {
          for await (const { x } of client.stream('SELECT 10 / (n - 3) AS x FROM generate_series(1, 5) AS n'))
            rows.push(x)
        })(),
      )
      assert.equal(error.code, '22012')
      assert.deepEqual(rows, [-5, -10])
      const thrower = { getTypeParser: () => () => assert.fail('no') }
      const broken = client.stream({ text: 'SELECT 1 AS a', types: thrower })
      assert.match((await rejection(broken.next())).message, /no/)
      await answers(client)
    })
  })

  it('is given up before its turn', async () => {
    await withClient({}, async (client) => {
      const slow = client.query('SELECT pg_sleep(0.1)')
      const rows = client.stream('SELECT 1')
      const first = rows.next()
      assert.deepEqual(await rows.return(), { value: undefined, done: true })
      assert.deepEqual(await first, { value: undefined, done: true })
      await slow
      const never = client.stream('SELECT 1/0')
      await never.return()
      assert.deepEqual(await never.next(), { value: undefined, done: true })
      await answers(client)
    })
  })

  it('ends with the connection', async () => {
    await withClient({}, async (watcher) => {
      const client = new pg.Client(await settings())
      client.on('error', () => {})
      await client.connect()
      const rows = client.stream('SELECT generate_series(1, 1000000000) AS n')
      await rows.next()
      await watcher.query('SELECT pg_terminate_backend($1)', [client.processID])
      const all = (async () => {
        for await (const row of rows) assert.ok(row.n)
      })()
      assert.ok((await rejection(all)) instanceof Error)
    })
  })
})

describe('client.copyFrom() and client.copyTo()', () => {
  const LINES = 300000
  const lines = () => Array.from({ length: 300 }, (_, i) => text(i * 1000, 1000))
  const text = (first, count) => Array.from({ length: count }, (_, i) => `${first + i}\trow ${first + i}\n`).join('')

  it('copy in and out what is the same, with back-pressure', async () => {
    await withClient({}, async (client) => {
      await client.query('CREATE TEMPORARY TABLE copied (a int, b text)')
      const into = client.copyFrom('COPY copied FROM STDIN')
      await pipeline(Readable.from(lines()), into)
      assert.equal(into.rowCount, LINES)
      await answers(client)
      const out = client.copyTo('COPY copied TO STDOUT')
      let read = ''
      const slow = new Writable({
        highWaterMark: 1024,
        write(chunk, encoding, done) {
          read += chunk
          setImmediate(done)
        },
      })
      await pipeline(out, slow)
      assert.equal(out.rowCount, LINES)
      assert.equal(read, lines().join(''))
      await answers(client)
    })
  })

  it('fail with what the server says', async () => {
    await withClient({}, async (client) => {
      await client.query('CREATE TEMPORARY TABLE copied (a int)')
      const wrong = pipeline(Readable.from(['x\n']), client.copyFrom('COPY copied FROM STDIN'))
      assert.equal((await rejection(wrong)).code, '22P02')
      await answers(client)
      const none = client.copyTo('COPY there_is_none TO STDOUT')
      assert.equal((await rejection(none.toArray())).code, '42P01')
      await answers(client)
    })
  })

  it('refuse the other direction, and what is no COPY', async () => {
    await withClient({}, async (client) => {
      await client.query('CREATE TEMPORARY TABLE copied (a int)')
      const into = client.copyTo('COPY copied FROM STDIN')
      assert.equal((await rejection(into.toArray())).code, '57014')
      const out = client.copyFrom('COPY copied TO STDOUT')
      assert.match((await rejection(new Promise((resolve, reject) => out.on('error', reject)))).message, /FROM STDIN/)
      await answers(client)
    })
  })

  it('store nothing, or stop the statement, when they are destroyed', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const client = await pool.connect()
      await client.query('CREATE TEMPORARY TABLE copied (a int)')
      const into = client.copyFrom('COPY copied FROM STDIN')
      into.write('1\n')
      await eventually(() => into._ready)
      into.destroy()
      assert.equal((await client.query('SELECT count(*) FROM copied')).rows[0].count, '0')
      const out = client.copyTo('COPY (SELECT generate_series(1, 1000000000)) TO STDOUT')
      for await (const chunk of out) if (chunk.length > 0) break
      await answers(client)
      client.release()
      assert.deepEqual((await pool.query('SELECT 1 AS a')).rows, [{ a: 1 }])
    })
  })
})
