'use strict'

/** Statements that heys-db prepares by itself: when, and that nobody can tell but by the speed. */

const assert = require('node:assert/strict')
const { describe, it } = require('node:test')
const { pg } = require('../provider')
const { startPgBouncer } = require('../pgbouncer')
const { settings, environment } = require('../server')
const { withClient, withPool, rejection } = require('../support')

const limit = { timeout: 30000 }

let asked = 0

/** The texts that the connection has prepared under a name of heys-db's, asked in other words each time. */
async function prepared(client) {
  const { rows } = await client.query(
    `/* ${asked++} */ SELECT statement, generic_plans::int, custom_plans::int FROM pg_prepared_statements WHERE name LIKE '\\_\\_heys\\_%' ORDER BY prepare_time`,
  )
  return rows
}

const texts = async (client) => (await prepared(client)).map((row) => row.statement)

/** Sends a text as often as it takes until it has a name. */
async function name(client, text, values) {
  for (let i = 0; i < 6; i++) await client.query(text, values)
  assert.ok((await texts(client)).includes(text), `${text} has no name`)
}

/** What a query gives on a connection that names everything, and on one that names nothing. */
async function both(change, text, values) {
  const outcome = async (prepareStatements) =>
    withClient({ prepareStatements }, async (client) => {
      await client.query('DROP TABLE IF EXISTS changing; CREATE TABLE changing (id int, note text)')
      await client.query("INSERT INTO changing VALUES (1, 'one'), (2, 'two')")
      if (prepareStatements) await name(client, text, values)
      // From another connection: nothing on this one tells of it.
      await withClient({}, (other) => other.query(change))
      try {
        const { rows, fields, rowCount } = await client.query(text, values)
        return { rows, rowCount, fields: fields.map(({ name, dataTypeID }) => [name, dataTypeID]) }
      } catch (error) {
        const { message, code, position, severity, routine, where, length } = error
        return { message, code, position, severity, routine, where, length }
      }
    })
  return [await outcome(true), await outcome(false)]
}

describe('statements prepared by themselves', limit, () => {
  it('a text has a name after a few times', () =>
    withClient({}, async (client) => {
      const text = 'SELECT $1::int + 1 AS n'
      for (let i = 0; i < 2; i++) assert.deepEqual((await client.query(text, [i])).rows, [{ n: i + 1 }])
      assert.deepEqual(await texts(client), [])
      for (let i = 0; i < 9; i++) assert.deepEqual((await client.query(text, [i])).rows, [{ n: i + 1 }])
      assert.deepEqual(await texts(client), [text])
    }))

  it('a query without values has a name, too', () =>
    withClient({}, async (client) => {
      const text = "SELECT 1 AS n, 'x' AS t"
      const first = await client.query(text)
      for (let i = 0; i < 9; i++) assert.deepEqual(await client.query(text), first)
      assert.deepEqual(await texts(client), [text])
    }))

  it('a query with a name of its own, several statements, and what is not planned are sent as ever', () =>
    withClient({}, async (client) => {
      for (let i = 0; i < 9; i++) {
        await client.query({ name: 'mine', text: 'SELECT $1::int', values: [1] })
        assert.equal((await client.query('SELECT 1; SELECT 2')).length, 2)
        await client.query('SHOW TimeZone')
      }
      assert.deepEqual(await texts(client), [])
    }))

  it('what PostgreSQL reads once at Parse is not named', () =>
    withClient({}, async (client) => {
      const text = "SELECT 'now'::timestamptz AS at, $1::int"
      const times = new Set()
      for (let i = 0; i < 9; i++) {
        times.add((await client.query(text, [1])).rows[0].at.getTime())
        await client.query('SELECT pg_sleep(0.002)')
      }
      assert.equal(times.size, 9)
      assert.deepEqual(await texts(client), ['SELECT pg_sleep(0.002)'])
    }))

  it('names are bounded; the one used least recently is closed', () =>
    withClient({}, async (client) => {
      const text = (n) => `SELECT $1::int + ${n} AS n`
      for (let n = 0; n < 300; n++) {
        for (let i = 0; i < 5; i++) assert.deepEqual((await client.query(text(n), [1])).rows, [{ n: n + 1 }])
      }
      const names = await texts(client)
      assert.ok(names.length <= 128 && names.length > 100, `${names.length} names`)
      assert.ok(names.includes(text(299)) && !names.includes(text(0)))
    }))

  it('inside a transaction nothing is named, unless prepareInTransactions says so', async () => {
    const text = 'SELECT $1::int AS n'
    const transaction = async (client) => {
      await client.query('BEGIN')
      for (let i = 0; i < 9; i++) await client.query(text, [i])
      await client.query('COMMIT')
    }
    await withClient({}, async (client) => {
      await transaction(client)
      assert.deepEqual(await texts(client), [])
    })
    await withClient({ prepareInTransactions: true }, async (client) => {
      await client.query('SELECT $1::int', [1])
      for (let i = 0; i < 4; i++) await client.query('SELECT $1::int', [1])
      await transaction(client)
      assert.ok((await texts(client)).includes(text))
    })
  })

  it('prepareStatements: false, strictPg and the defaults leave all unnamed', async () => {
    const runs = async (options) =>
      withClient(options, async (client) => {
        for (let i = 0; i < 9; i++) await client.query('SELECT $1::int', [1])
        return (await texts(client)).length
      })
    assert.equal(await runs({}), 1)
    assert.equal(await runs({ prepareStatements: false }), 0)
    assert.equal(await runs({ strictPg: true }), 0)
    assert.equal(await runs({ strictPg: true, prepareStatements: true }), 1)
    pg.defaults.prepareStatements = false
    try {
      assert.equal(await runs({}), 0)
    } finally {
      pg.defaults.prepareStatements = undefined
    }
  })

  it('PREPARE_STATEMENTS switches getPool()', async () => {
    const saved = { ...process.env }
    try {
      for (const [value, expected] of [
        ['off', 0],
        ['on', 1],
      ]) {
        Object.assign(process.env, await environment(), { PREPARE_STATEMENTS: value, POOL_MAX_SIZE: '1' })
        for (let i = 0; i < 9; i++) await pg.getPool().query('SELECT $1::int', [1])
        assert.equal((await pg.withClient(texts)).length, expected, value)
        await pg.closePool()
      }
      Object.assign(process.env, { PREPARE_STATEMENTS: 'perhaps' })
      assert.throws(() => pg.getPool(), /PREPARE_STATEMENTS.*perhaps/)
    } finally {
      await pg.closePool()
      for (const key of Object.keys(process.env)) if (!(key in saved)) delete process.env[key]
      Object.assign(process.env, saved)
    }
  })

  for (const mode of ['session', 'transaction']) {
    it(`behind PgBouncer in ${mode} mode nothing is named`, async () => {
      const bouncer = await startPgBouncer(await settings(), mode)
      try {
        await withPool({ ...bouncer.settings, max: 1 }, async (pool) => {
          for (let i = 0; i < 9; i++) assert.deepEqual((await pool.query('SELECT $1::int AS n', [i])).rows, [{ n: i }])
          const { rows } = await pool.query("SELECT name FROM pg_prepared_statements WHERE name <> ''")
          assert.deepEqual(rows, [])
        })
      } finally {
        await bouncer.stop()
      }
    })
  }
})

describe('a name never changes what a statement means', limit, () => {
  for (const [what, change, text, values] of [
    ['a column more', 'ALTER TABLE changing ADD more int DEFAULT 5', 'SELECT * FROM changing WHERE id = $1', [1]],
    ['a column less', 'ALTER TABLE changing DROP note', 'SELECT * FROM changing WHERE id = $1', [1]],
    ['a missing column', 'ALTER TABLE changing DROP note', 'SELECT note FROM changing WHERE id = $1', [1]],
    ['another name', 'ALTER TABLE changing RENAME note TO remark', 'SELECT * FROM changing WHERE id = $1', [1]],
    ['a wider type', 'ALTER TABLE changing ALTER id TYPE bigint', 'SELECT id FROM changing WHERE id = $1', [1]],
    [
      'a type without that operator',
      'ALTER TABLE changing ALTER id TYPE text',
      'SELECT note FROM changing WHERE id = $1',
      ['1'],
    ],
    ['no table', 'DROP TABLE changing', 'SELECT * FROM changing WHERE id = $1', [1]],
    [
      'another table',
      "DROP TABLE changing; CREATE TABLE changing (id int, note text); INSERT INTO changing VALUES (1, 'new')",
      'SELECT * FROM changing WHERE id = $1',
      [1],
    ],
    [
      'a column more for RETURNING',
      'ALTER TABLE changing ADD more int DEFAULT 5',
      'UPDATE changing SET note = $1 WHERE id = 1 RETURNING *',
      ['x'],
    ],
  ]) {
    it(`a table with ${what} gives what an unnamed statement gives`, async () => {
      const [named, unnamed] = await both(change, text, values)
      assert.deepEqual(named, unnamed)
    })
  }

  it('wrong values have the errors of unnamed statements', () =>
    withClient({}, async (client) => {
      const text = 'SELECT $1::int AS n'
      const plain = new pg.Client({ ...(await settings()), prepareStatements: false })
      await plain.connect()
      await name(client, text, [1])
      for (const values of [['x'], [1, 2], ['99999999999'], [Buffer.from('abc')]]) {
        const [ours, theirs] = [await rejection(client.query(text, values)), await rejection(plain.query(text, values))]
        assert.deepEqual({ ...ours }, { ...theirs })
        assert.equal(ours.message, theirs.message)
        await name(client, text, [1])
      }
      await plain.end()
    }))

  for (const text of ['DEALLOCATE ALL', 'DISCARD ALL', 'DEALLOCATE __heys_1']) {
    it(`${text} is noticed`, () =>
      withClient({}, async (client) => {
        const named = 'SELECT $1::int AS n'
        await name(client, named, [1])
        await client.query(text)
        for (let i = 0; i < 9; i++) assert.deepEqual((await client.query(named, [i])).rows, [{ n: i }])
        assert.deepEqual(await texts(client), [named])
      }))
  }

  it('names that were taken away unseen are given again', () =>
    withClient({}, async (client) => {
      const named = 'SELECT $1::int AS n'
      await name(client, named, [1])
      // In one simple query with other statements, the tag that comes last says nothing of it.
      await client.query('DO $$ BEGIN END $$; SELECT 1')
      await client.query({ text: 'DEALLOCATE __heys_1', queryMode: 'extended' }).catch(() => {})
      for (let i = 0; i < 9; i++) assert.deepEqual((await client.query(named, [i])).rows, [{ n: i }])
    }))

  it('a temporary table hides another from the next query on', () =>
    withClient({}, async (client) => {
      await client.query(
        "DROP TABLE IF EXISTS hidden; CREATE TABLE hidden (note text); INSERT INTO hidden VALUES ('old')",
      )
      const text = 'SELECT note FROM hidden WHERE note <> $1'
      await name(client, text, ['x'])
      await client.query("CREATE TEMPORARY TABLE hidden (note text); INSERT INTO hidden VALUES ('new')")
      assert.deepEqual((await client.query(text, ['x'])).rows, [{ note: 'new' }])
    }))

  it('constants follow a changed time zone', () =>
    withClient({}, async (client) => {
      const text = "SELECT '2025-07-01 12:00'::timestamptz AS at, $1::int AS n"
      await client.query("SET TIME ZONE 'UTC'")
      await name(client, text, [1])
      await client.query("SET TIME ZONE 'Asia/Kolkata'")
      const { rows } = await client.query(text, [1])
      assert.equal(rows[0].at.toISOString(), '2025-07-01T06:30:00.000Z')
    }))

  it('an error after the statement began is told once, and nothing is repeated', () =>
    withClient({}, async (client) => {
      await client.query(
        'DROP TABLE IF EXISTS once; CREATE TABLE once (n int PRIMARY KEY); DROP SEQUENCE IF EXISTS runs',
      )
      await client.query('CREATE SEQUENCE runs')
      const text = "INSERT INTO once SELECT $1::int + 0 * nextval('runs')"
      for (let i = 0; i < 6; i++) await client.query(text, [i])
      const error = await rejection(client.query(text, [1]))
      assert.equal(error.code, '23505')
      const { rows } = await client.query("SELECT nextval('runs')::int AS n")
      assert.equal(rows[0].n, 8)
    }))

  it('a statement that is cancelled at its time-out is not repeated', () =>
    withClient({ query_timeout: 300 }, async (client) => {
      const text = 'SELECT pg_sleep($1::float8)'
      await name(client, text, [0])
      assert.equal((await rejection(client.query(text, [20]))).message, 'Query read timeout')
      await client.query(text, [0])
      assert.ok((await texts(client)).includes(text))
    }))

  it('a text whose generic plan proves slower goes back to unnamed', () =>
    withClient({}, async (client) => {
      // Three values share nearly all rows. A plan for any value walks along the ids and soon meets one of its rows; for
      // the rare value, which comes last, that is the whole table.
      await client.query(`DROP TABLE IF EXISTS skewed; CREATE TABLE skewed (id int PRIMARY KEY, kind int);
        INSERT INTO skewed SELECT n, CASE WHEN n > 199980 THEN 3 ELSE n % 3 END FROM generate_series(1, 200000) AS n;
        CREATE INDEX ON skewed (kind); ANALYZE skewed`)
      const text = 'SELECT id FROM skewed WHERE kind = $1 ORDER BY id LIMIT 1'
      let generic = false
      for (let i = 0; i < 120; i++) {
        await client.query(text, [i < 9 ? 0 : 3])
        const rows = await prepared(client)
        generic ||= rows.some((row) => row.generic_plans > 0)
      }
      assert.ok(generic, 'the server never used a generic plan: the test tests nothing')
      await client.query(text, [3])
      await client.query('SELECT $1::int', [1])
      assert.ok(!(await texts(client)).includes(text), 'it is still named')
    }))
})
