'use strict'

const assert = require('node:assert/strict')
const { describe, it } = require('node:test')
const { once } = require('node:events')
const { pg } = require('./provider')
const { eventually, withClient, withPool, rejection } = require('./support')

const one = (options, ...args) => withClient(options, (client) => client.query(...args))

describe('forms of query()', () => {
  it('takes text, values and a callback in every combination', async () => {
    await withClient({}, async (client) => {
      const called = (...args) =>
        new Promise((resolve, reject) => {
          const returned = client.query(...args, (error, result) => (error ? reject(error) : resolve(result.rows)))
          assert.equal(returned, undefined)
        })
      assert.deepEqual((await client.query('SELECT 1 AS a')).rows, [{ a: 1 }])
      assert.deepEqual((await client.query('SELECT $1::text AS a', ['x'])).rows, [{ a: 'x' }])
      assert.deepEqual((await client.query({ text: 'SELECT $1::text AS a' }, ['y'])).rows, [{ a: 'y' }])
      assert.deepEqual((await client.query({ text: 'SELECT $1::text AS a', values: ['z'] })).rows, [{ a: 'z' }])
      assert.deepEqual(await called('SELECT 2 AS a'), [{ a: 2 }])
      assert.deepEqual(await called('SELECT $1::int AS a', [3]), [{ a: 3 }])
      assert.deepEqual(await called({ text: 'SELECT $1::int AS a' }, [4]), [{ a: 4 }])
      const viaConfig = await new Promise((resolve, reject) => {
        client.query({ text: 'SELECT 5 AS a', callback: (error, result) => (error ? reject(error) : resolve(result)) })
      })
      assert.deepEqual(viaConfig.rows, [{ a: 5 }])
    })
  })

  it('leaves the config object as it was, frozen or inherited', async () => {
    const config = Object.freeze({ text: 'SELECT $1::int AS a', rowMode: 'array' })
    assert.deepEqual((await one({}, config, [1])).rows, [[1]])
    class Statement {
      get text() {
        return 'SELECT 7 AS a'
      }
    }
    assert.deepEqual((await one({}, new Statement())).rows, [{ a: 7 }])
  })

  it('throws for what cannot be a query at once', async () => {
    await withClient({}, async (client) => {
      for (const nothing of [null, undefined]) {
        assert.throws(() => client.query(nothing), new TypeError('Client was passed a null or undefined query'))
      }
      assert.throws(() => client.query('SELECT 1', [], 'no function'), new TypeError('callback is not a function'))
    })
  })

  it('rejects a query without text and name, and values that are no array; the client stays usable', async () => {
    await withClient({}, async (client) => {
      const missing = 'A query must have either text or a name. Supplying neither is unsupported.'
      assert.equal((await rejection(client.query({}))).message, missing)
      assert.equal((await rejection(client.query({ text: 5 }))).message, missing)
      const values = await rejection(client.query({ text: 'SELECT 1', values: { length: 1 } }))
      assert.equal(values.message, 'Query values must be an array')
      assert.deepEqual((await client.query('SELECT 1 AS a')).rows, [{ a: 1 }])
    })
  })

  it('runs queries in the order of the calls', async () => {
    await withClient({}, async (client) => {
      const order = []
      await Promise.all(
        [1, 2, 3, 4, 5].map((n) =>
          client
            .query(n % 2 ? 'SELECT pg_sleep(0.01)' : 'SELECT $1::int', n % 2 ? undefined : [n])
            .then(() => order.push(n)),
        ),
      )
      assert.deepEqual(order, [1, 2, 3, 4, 5])
    })
  })

  it('runs what was asked before connect()', async () => {
    const { settings } = require('./server')
    const client = new pg.Client(await settings())
    const early = client.query('SELECT 1 AS a')
    await client.connect()
    assert.deepEqual((await early).rows, [{ a: 1 }])
    await client.end()
  })

  it('emits drain when nothing is left to do', async () => {
    await withClient({}, async (client) => {
      const drained = once(client, 'drain')
      const [, result] = await Promise.all([drained, client.query('SELECT 1 AS a')])
      assert.equal(result.rowCount, 1)
    })
  })
})

describe('protocol and statements', () => {
  it('runs several statements of one text and gives an array of results', async () => {
    const results = await one({}, 'CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1), (2); SELECT a FROM t; ')
    assert.deepEqual(
      results.map(({ command, rowCount, oid }) => [command, rowCount, oid]),
      [
        ['CREATE', null, null],
        ['INSERT', 2, 0],
        ['SELECT', 2, null],
      ],
    )
    assert.deepEqual(results[2].rows, [{ a: 1 }, { a: 2 }])
  })

  it('uses the simple protocol for empty values and the extended one for queryMode, name or values', async () => {
    await withClient({}, async (client) => {
      const several = 'SELECT 1 AS a; SELECT 2 AS b'
      assert.equal((await client.query(several, [])).length, 2)
      assert.equal((await client.query({ text: several, values: [] })).length, 2)
      for (const config of [
        { text: several, queryMode: 'extended' },
        { text: several, name: 'several' },
        { text: several, values: [1] },
      ]) {
        assert.equal((await rejection(client.query(config))).code, '42601')
      }
    })
  })

  it('parses a named statement once, knows its text later, and refuses another text', async () => {
    await withClient({}, async (client) => {
      const text = 'SELECT $1::int + 1 AS a'
      assert.deepEqual((await client.query({ name: 'plus', text, values: [1] })).rows, [{ a: 2 }])
      assert.deepEqual((await client.query({ name: 'plus', values: [2] })).rows, [{ a: 3 }])
      assert.deepEqual((await client.query({ name: 'plus', text, values: [3] })).rows, [{ a: 4 }])
      const prepared = await client.query("SELECT count(*)::int AS n FROM pg_prepared_statements WHERE name = 'plus'")
      assert.equal(prepared.rows[0].n, 1)
      const error = await rejection(client.query({ name: 'plus', text: 'SELECT 1', values: [3] }))
      assert.equal(error.message, "Prepared statements must be unique - 'plus' was used for a different statement")
    })
  })

  it('can name a statement again after its text had an error', async () => {
    await withClient({}, async (client) => {
      const wrong = { name: 'again', text: 'SELECT nothing_of_this_name' }
      assert.equal((await rejection(client.query(wrong))).code, '42703')
      assert.deepEqual((await client.query({ name: 'again', text: 'SELECT 1 AS a' })).rows, [{ a: 1 }])
    })
  })

  it('delivers all rows whatever `rows` says', async () => {
    const { rows } = await one({}, { text: 'SELECT * FROM generate_series(1, 25) AS n', rows: 10 })
    assert.deepEqual(
      rows.map(({ n }) => n),
      Array.from({ length: 25 }, (_, i) => i + 1),
    )
  })

  it('answers an empty query', async () => {
    for (const config of ['', ' ', { text: '', queryMode: 'extended' }]) {
      const { command, rowCount, oid, rows, fields } = await one({}, config)
      assert.deepEqual(
        { command, rowCount, oid, rows, fields },
        { command: null, rowCount: null, oid: null, rows: [], fields: [] },
      )
    }
  })

  it('drains COPY TO STDOUT, fails COPY FROM STDIN, and goes on', async () => {
    await withClient({}, async (client) => {
      const copied = await client.query('COPY (SELECT generate_series(1, 1000)) TO STDOUT')
      assert.deepEqual([copied.command, copied.rowCount, copied.rows], ['COPY', 1000, []])
      await client.query('CREATE TEMP TABLE t (a int)')
      const error = await rejection(client.query('COPY t FROM STDIN'))
      assert.equal(error.code, '57014')
      assert.match(error.message, /COPY from stdin failed: No source stream defined/)
      assert.equal((await client.query('SELECT 1 AS a')).rows[0].a, 1)
    })
  })

  it('says in which transaction state the session is', async () => {
    await withClient({}, async (client) => {
      assert.equal(client.getTransactionStatus(), 'I')
      await client.query('BEGIN')
      assert.equal(client.getTransactionStatus(), 'T')
      await rejection(client.query('SELECT 1/0'))
      // pg rejects before the server has said that it is ready.
      await eventually(() => client.getTransactionStatus() === 'E')
      await client.query('ROLLBACK')
      assert.equal(client.getTransactionStatus(), 'I')
    })
  })
})

describe('results', () => {
  it('name the table and the column that a value comes from', async () => {
    const { fields } = await one({}, "SELECT relname, 1 AS a, oid FROM pg_class WHERE relname = 'pg_class'")
    assert.deepEqual(
      fields.map(({ tableID, columnID }) => [tableID, columnID]),
      [
        [1259, 2],
        [0, 0],
        [1259, 1],
      ],
    )
  })

  it('describe the columns', async () => {
    const { fields } = await one({}, 'SELECT 1 AS a, $1::varchar(7) AS b', ['x'])
    assert.deepEqual(
      fields.map((field) => ({ ...field })),
      [
        { name: 'a', tableID: 0, columnID: 0, dataTypeID: 23, dataTypeSize: 4, dataTypeModifier: -1, format: 'text' },
        {
          name: 'b',
          tableID: 0,
          columnID: 0,
          dataTypeID: 1043,
          dataTypeSize: -1,
          dataTypeModifier: 11,
          format: 'text',
        },
      ],
    )
  })

  it('name the command by its first word and count what the tag counts', async () => {
    await withClient({}, async (client) => {
      const seen = []
      for (const text of [
        'CREATE TEMP TABLE t (a int)',
        'INSERT INTO t SELECT generate_series(1, 3)',
        'UPDATE t SET a = a + 1',
        'DELETE FROM t WHERE a = 2',
        'SELECT FROM t',
        'TRUNCATE t',
        'LISTEN x',
        "SET application_name = 'y'",
        'DO $$ BEGIN END $$',
        'SHOW application_name',
        'EXPLAIN SELECT 1',
        'DROP TABLE t',
      ]) {
        const { command, rowCount, oid } = await client.query(text)
        seen.push([command, rowCount, oid])
      }
      assert.deepEqual(seen, [
        ['CREATE', null, null],
        ['INSERT', 3, 0],
        ['UPDATE', 3, null],
        ['DELETE', 1, null],
        ['SELECT', 2, null],
        ['TRUNCATE', null, null],
        ['LISTEN', null, null],
        ['SET', null, null],
        ['DO', null, null],
        ['SHOW', null, null],
        ['EXPLAIN', null, null],
        ['DROP', null, null],
      ])
    })
  })

  it('keep column order, and of duplicate names the last value', async () => {
    const { rows } = await one({}, 'SELECT 1 AS b, 2 AS a, 3 AS b')
    assert.equal(JSON.stringify(rows), '[{"b":3,"a":2}]')
  })

  it('survive columns named __proto__, 0, constructor and ones with quotes and separators', async () => {
    for (const rowCount of [1, 20]) {
      const text = `SELECT 1 AS "__proto__", 2 AS "0", 3 AS constructor, 4 AS "a'""b\\", 5 AS "\u2028\`\${1}" FROM generate_series(1, ${rowCount})`
      for (const row of (await one({}, text)).rows) {
        assert.equal(Object.getPrototypeOf(row), Object.prototype)
        assert.deepEqual(Object.keys(row).sort(), ['0', '__proto__', 'a\'"b\\', 'constructor', '\u2028`${1}'].sort())
        assert.deepEqual(
          Object.entries(row)
            .map(([, value]) => value)
            .sort(),
          [1, 2, 3, 4, 5],
        )
      }
    }
  })

  it('come as arrays with rowMode array, and with no columns as empty rows', async () => {
    assert.deepEqual((await one({}, { text: 'SELECT 1, NULL, $1::text', values: ['x'], rowMode: 'array' })).rows, [
      [1, null, 'x'],
    ])
    assert.deepEqual((await one({}, 'SELECT FROM generate_series(1, 2)')).rows, [{}, {}])
  })

  it('hold every row of a large one, with text beyond ASCII', async () => {
    const text =
      "SELECT n, repeat('ж', n % 50) AS s, n % 3 = 0 AS b, nullif(n % 2, 0) AS o FROM generate_series(1, 20000) AS n"
    const { rows, rowCount } = await one({}, text)
    assert.equal(rowCount, 20000)
    rows.forEach((row, i) => {
      const n = i + 1
      assert.deepEqual(row, { n, s: 'ж'.repeat(n % 50), b: n % 3 === 0, o: n % 2 ? 1 : null })
    })
  })

  it('hold a value of several megabytes', async () => {
    const { rows } = await one({}, "SELECT repeat('x', 5000000) AS x, repeat('я', 1000000) AS y")
    assert.equal(rows[0].x.length, 5000000)
    assert.equal(rows[0].y, 'я'.repeat(1000000))
  })
})

describe('errors', () => {
  it('carry every field as an own property', async () => {
    await withClient({}, async (client) => {
      await client.query('CREATE TEMP TABLE t (a int CONSTRAINT positive CHECK (a > 0))')
      const error = await rejection(client.query('INSERT INTO t VALUES (-1)'))
      assert.ok(error instanceof pg.DatabaseError)
      assert.ok(error instanceof Error)
      assert.equal(error.name, 'error')
      assert.equal(error.severity, 'ERROR')
      assert.equal(error.code, '23514')
      assert.equal(error.constraint, 'positive')
      assert.equal(error.table, 't')
      assert.match(error.detail, /-1/)
      assert.equal(typeof error.length, 'number')
      assert.equal(typeof error.line, 'string')
      const own = Object.keys(error).sort()
      assert.deepEqual(
        own,
        'length name severity code detail hint position internalPosition internalQuery where schema table column dataType constraint file line routine'
          .split(' ')
          .sort(),
      )
      assert.equal(error.hint, undefined)
    })
  })

  it('say where in the text', async () => {
    const error = await rejection(one({}, 'SELECT nothing'))
    assert.equal(error.position, '8')
    assert.equal(error.message, 'column "nothing" does not exist')
  })

  it('have a stack that leads to the caller', async () => {
    async function theApplication(client) {
      await client.query('SELECT 1/0')
    }
    const error = await rejection(withClient({}, theApplication))
    assert.match(error.stack, /theApplication/)
    assert.match(error.stack, /division by zero/)
    const pooled = await rejection(withPool({}, theApplication))
    assert.match(pooled.stack, /theApplication/)
  })

  it('of one query leave the next ones alone', async () => {
    await withClient({}, async (client) => {
      const outcomes = await Promise.allSettled([
        client.query('SELECT 1 AS a'),
        client.query('SELECT 1/0'),
        client.query('SELECT $1::int AS a', ['no number']),
        client.query('SELECT 2 AS a'),
      ])
      assert.deepEqual(
        outcomes.map(({ value, reason }) => (reason ? reason.code : value.rows[0].a)),
        [1, '22012', '22P02', 2],
      )
    })
  })

  it('of a parser reject that query after its rows, and the client goes on', async () => {
    await withClient({}, async (client) => {
      const types = {
        getTypeParser: () => () => {
          throw new Error('the parser failed')
        },
      }
      const error = await rejection(client.query({ text: 'SELECT generate_series(1, 500)', types }))
      assert.equal(error.message, 'the parser failed')
      assert.equal((await client.query('SELECT 1 AS a')).rows[0].a, 1)
    })
  })

  it('of values that cannot be prepared reject that query', async () => {
    await withClient({}, async (client) => {
      const circular = {}
      circular.self = circular
      assert.match((await rejection(client.query('SELECT $1::json', [circular]))).message, /circular/)
      assert.equal((await client.query('SELECT 1 AS a')).rows[0].a, 1)
    })
  })
})

describe('notices and notifications', () => {
  it('are emitted with their fields', async () => {
    await withClient({}, async (client) => {
      const noticed = once(client, 'notice')
      await client.query("DO $$ BEGIN RAISE NOTICE 'hello' USING HINT = 'a hint'; END $$")
      const [notice] = await noticed
      assert.equal(notice.name, 'notice')
      assert.equal(notice.message, 'hello')
      assert.equal(notice.hint, 'a hint')
      assert.equal(notice.severity, 'NOTICE')
      assert.ok(!(notice instanceof Error))

      const notified = once(client, 'notification')
      await client.query("LISTEN news; NOTIFY news, 'extra'")
      const [message] = await notified
      assert.equal(message.constructor.name, 'NotificationResponseMessage')
      assert.deepEqual(Object.entries(message), [
        ['length', 19],
        ['processId', client.processID],
        ['channel', 'news'],
        ['payload', 'extra'],
        ['name', 'notification'],
      ])
    })
  })
})

describe('Query objects', () => {
  it('emit rows and the end, and are returned', async () => {
    await withClient({}, async (client) => {
      const query = new pg.Query('SELECT generate_series(1, 3) AS n')
      const seen = []
      query.on('row', (row, result) => seen.push([row.n, result.fields.length]))
      const ended = once(query, 'end')
      assert.equal(client.query(query), query)
      const [result] = await ended
      assert.deepEqual(seen, [
        [1, 1],
        [2, 1],
        [3, 1],
      ])
      assert.deepEqual([result.rowCount, result.rows], [3, []])
    })
  })

  it('emit errors, or call back', async () => {
    await withClient({}, async (client) => {
      const failing = client.query(new pg.Query('SELECT 1/0'))
      const [error] = await once(failing, 'error')
      assert.equal(error.code, '22012')
      const result = await new Promise((resolve, reject) => {
        client.query(
          new pg.Query('SELECT $1::int AS a', [5], (failure, value) => (failure ? reject(failure) : resolve(value))),
        )
      })
      assert.deepEqual(result.rows, [{ a: 5 }])
    })
  })
})
