'use strict'

/** Query objects that speak the protocol themselves, through client.connection. */

const assert = require('node:assert/strict')
const { describe, it } = require('node:test')
const { Readable, Writable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const Cursor = require('pg-cursor')
const QueryStream = require('pg-query-stream')
const { from, to } = require('pg-copy-streams')
const { pg } = require('./provider')
const { settings } = require('./server')
const { rejection, withClient, withPool } = require('./support')
const { startProxy } = require('./wire-proxy')

const SERIES = 'SELECT n, n::text AS t FROM generate_series(1, $1::int) AS n'

/** The client answers an ordinary query, and no transaction is open. */
async function answers(client) {
  assert.deepEqual((await client.query('SELECT $1::int AS a', [42])).rows, [{ a: 42 }])
  assert.equal(client.getTransactionStatus(), 'I')
}

describe('client.connection', () => {
  it('is one emitter, there before connecting, that tells of parameters and of the end', async () => {
    const client = new pg.Client(await settings())
    const parameters = new Map()
    client.connection.on('parameterStatus', (message) => parameters.set(message.parameterName, message.parameterValue))
    const ended = new Promise((resolve) => client.connection.once('end', resolve))
    const { connection } = client
    await client.connect()
    assert.equal(client.connection, connection)
    assert.equal(parameters.get('client_encoding'), 'UTF8')
    assert.ok(parameters.has('server_version'))
    await client.query("SET application_name = 'somebody else'")
    assert.equal(parameters.get('application_name'), 'somebody else')
    await client.end()
    await ended
  })
})

describe('pg-cursor', () => {
  it('reads in pieces, with parameters, to the end', async () => {
    await withClient({}, async (client) => {
      const cursor = client.query(new Cursor(SERIES, [10]))
      assert.deepEqual(await cursor.read(2), [
        { n: 1, t: '1' },
        { n: 2, t: '2' },
      ])
      assert.equal((await cursor.read(100)).length, 8)
      assert.deepEqual(await cursor.read(1), [])
      await answers(client)
    })
  })

  it('is closed before its end, and queries queued behind it follow', async () => {
    await withClient({}, async (client) => {
      const cursor = client.query(new Cursor(SERIES, [100000]))
      const next = client.query('SELECT 1 AS a')
      assert.equal((await cursor.read(3)).length, 3)
      await cursor.close()
      assert.deepEqual((await next).rows, [{ a: 1 }])
      await answers(client)
    })
  })

  it('follows another cursor at once', async () => {
    await withClient({}, async (client) => {
      const cursors = [3, 5, 7].map((n) => client.query(new Cursor(SERIES, [n])))
      const rows = await Promise.all(cursors.map((cursor) => cursor.read(100)))
      assert.deepEqual(
        rows.map(({ length }) => length),
        [3, 5, 7],
      )
      await Promise.all(cursors.map((cursor) => cursor.close()))
      await answers(client)
    })
  })

  it('has errors of its statement as DatabaseError', async () => {
    await withClient({}, async (client) => {
      const cursor = client.query(new Cursor('SELECT 1 / (n - 3) FROM generate_series(1, 5) AS n'))
      const error = await rejection(cursor.read(10))
      assert.ok(error instanceof pg.DatabaseError)
      assert.equal(error.code, '22012')
      assert.equal(error.severity, 'ERROR')
      await answers(client)
      const wrong = client.query(new Cursor('SELEC 1'))
      assert.equal((await rejection(wrong.read(1))).code, '42601')
      await answers(client)
    })
  })

  it('hands notices and notifications to the client', async () => {
    await withClient({}, async (client) => {
      await client.query("LISTEN a_channel; SET client_min_messages = 'notice'")
      const seen = []
      client.on('notification', ({ channel, payload }) => seen.push([channel, payload]))
      client.on('notice', ({ message }) => seen.push(message))
      await client.query(`CREATE FUNCTION pg_temp.says() RETURNS int LANGUAGE plpgsql
        AS $$ BEGIN RAISE NOTICE 'a notice'; RETURN 1; END $$`)
      const cursor = client.query(new Cursor("SELECT pg_temp.says(), pg_notify('a_channel', 'hello')"))
      await cursor.read(10)
      await cursor.close()
      await answers(client)
      assert.deepEqual(seen, ['a notice', ['a_channel', 'hello']])
    })
  })

  it('fails when the connection is lost without a word', async () => {
    const proxy = await startProxy(await settings())
    try {
      await withClient({ host: proxy.host, port: proxy.port }, async (client) => {
        client.on('error', () => {})
        const cursor = client.query(new Cursor(SERIES, [100000]))
        await cursor.read(1)
        proxy.stall()
        const lost = rejection(cursor.read(10))
        proxy.cut()
        assert.equal((await lost).code, 'ECONNRESET')
      })
    } finally {
      await proxy.close()
    }
  })

  it('fails when the connection is lost', async () => {
    await withClient({}, async (watcher) => {
      const client = new pg.Client(await settings())
      client.on('error', () => {})
      await client.connect()
      const cursor = client.query(new Cursor(SERIES, [100000]))
      await cursor.read(1)
      const ended = new Promise((resolve) => client.once('end', resolve))
      const lost = rejection(cursor.read(100000).then(() => cursor.read(100000)))
      await watcher.query('SELECT pg_terminate_backend($1)', [client.processID])
      await ended
      assert.ok((await lost) instanceof Error)
    })
  })

  it('runs on a client of a pool', async () => {
    await withPool({ max: 1 }, async (pool) => {
      const client = await pool.connect()
      const cursor = client.query(new Cursor(SERIES, [5]))
      assert.equal((await cursor.read(3)).length, 3)
      await cursor.close()
      client.release()
      assert.deepEqual((await pool.query('SELECT 1 AS a')).rows, [{ a: 1 }])
    })
  })
})

describe('pg-query-stream', () => {
  it('streams all rows', async () => {
    await withClient({}, async (client) => {
      let sum = 0
      for await (const row of client.query(new QueryStream(SERIES, [20000]))) sum += row.n
      assert.equal(sum, 200010000)
      await answers(client)
    })
  })

  it('is left in the middle', async () => {
    await withClient({}, async (client) => {
      let rows = 0
      for await (const row of client.query(new QueryStream(SERIES, [1000000], { highWaterMark: 10 }))) {
        assert.equal(row.n, ++rows)
        if (rows === 25) break
      }
      await answers(client)
    })
  })
})

describe('pg-copy-streams', () => {
  const LINES = 200000
  /** Lines of the text format, in pieces that end anywhere. */
  function* pieces() {
    let rest = ''
    for (let i = 0; i < LINES; i++) {
      rest += `${i}\trow ${i} of many\n`
      if (rest.length > 70001) {
        yield rest.slice(0, 70001)
        rest = rest.slice(70001)
      }
    }
    yield rest
  }

  it('copies in and out what is the same, with back-pressure', async () => {
    await withClient({}, async (client) => {
      await client.query('CREATE TEMPORARY TABLE copied (a int, b text)')
      const into = client.query(from('COPY copied FROM STDIN'))
      await pipeline(Readable.from(pieces()), into)
      assert.equal(into.rowCount, LINES)
      await answers(client)

      const out = client.query(to('COPY copied TO STDOUT'))
      let text = ''
      const slow = new Writable({
        highWaterMark: 1024,
        write(chunk, encoding, done) {
          text += chunk
          setImmediate(done)
        },
      })
      await pipeline(out, slow)
      assert.equal(out.rowCount, LINES)
      assert.equal(text, [...pieces()].join(''))
      await answers(client)
    })
  })

  it('fails with what the server says', async () => {
    await withClient({}, async (client) => {
      await client.query('CREATE TEMPORARY TABLE copied (a int)')
      const error = await rejection(
        pipeline(Readable.from(['not a number\n']), client.query(from('COPY copied FROM STDIN'))),
      )
      assert.equal(error.code, '22P02')
      await answers(client)
      const none = client.query(to('COPY there_is_none TO STDOUT'))
      none.resume()
      assert.equal(
        (await rejection(new Promise((resolve, reject) => none.on('error', reject).on('end', resolve)))).code,
        '42P01',
      )
      await answers(client)
    })
  })

  it('copies nothing when it is destroyed', async () => {
    await withClient({}, async (client) => {
      await client.query('CREATE TEMPORARY TABLE copied (a int)')
      const into = client.query(from('COPY copied FROM STDIN'))
      const failed = rejection(new Promise((resolve, reject) => into.on('error', reject).on('finish', resolve)))
      into.write('1\n')
      into.destroy(new Error('enough'))
      assert.equal((await failed).code, '57014')
      assert.equal((await client.query('SELECT count(*) FROM copied')).rows[0].count, '0')
    })
  })
})
