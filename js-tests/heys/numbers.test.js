'use strict'

/** Columns of statements that heys-db has prepared by itself: float8 and timestamptz come as eight bytes, unseen. */

const assert = require('node:assert/strict')
const { describe, it } = require('node:test')
const Cursor = require('pg-cursor')
const { pg } = require('../provider')
const { settings } = require('../server')
const { withClient, rejection } = require('../support')
const { startProxy } = require('../wire-proxy')

const limit = { timeout: 30000 }
/** Not known yet, seen, seen, asked whose server it is, named; the next one is bound. */
const BEFORE = 5

const FLOATS = `SELECT g, x FROM unnest(ARRAY[0, '-0', 1.5, -2.5, 0.1, 1e14, 1e15, 123456789012345678, 1e-4, 1.25e-5, 5e-324,
  1.7976931348623157e308, 'NaN', 'Infinity', '-Infinity', NULL]::float8[]) WITH ORDINALITY AS u (x, g) WHERE g >= $1`
const TIMES = `SELECT g, x FROM unnest(ARRAY['2024-01-02 03:04:05.678901+05', '1969-12-31 23:59:59.9995+00', 'infinity',
  '-infinity', NULL, '0001-02-29 00:00+00 BC', '0044-03-15 BC', '0001-01-01', '0099-12-31 23:00+00', '0150-05-05', '9999-12-31 23:59:59.999999',
  '12345-06-07 00:00+00', '1883-11-18 12:03:58+00']::timestamptz[]) WITH ORDINALITY AS u (x, g) WHERE g >= $1`

/** Bind to a name of ours with one parameter of one character, and Describe: its result format codes. */
// eslint-disable-next-line no-control-regex -- the protocol has them
const BIND = /__heys_\d+\0\0\0\0\x01\0\0\0\x01.\0.((?:\0[\0\x01])*)D/gs

/** The result of the text, bound to its name. */
async function bound(client, config) {
  for (let i = 0; i < BEFORE; i++) await client.query(config)
  return client.query(config)
}

const unnamed = (config) => withClient({ prepareStatements: false }, (client) => client.query(config))

/** Runs `fn` with a client and a function that tells the result format codes of the last Bind. */
async function withFormats(options, fn) {
  const server = await settings()
  const proxy = await startProxy(server)
  const formats = () => {
    const [, codes] = [...proxy.heard.matchAll(BIND)].pop() || []
    return codes === undefined ? 'unnamed' : [...codes].filter((_, i) => i % 2 === 1).map((code) => code.charCodeAt(0))
  }
  try {
    const { host, port } = proxy
    await withClient({ host, port, ...options }, (client) => fn(client, formats))
  } finally {
    await proxy.close()
  }
}

/** An array, so that NaN and -0 are compared, and Dates by their time. */
const cells = ({ rows }) => rows.map(({ x }) => (x instanceof Date ? x.toISOString() : x))

describe('columns that come as numbers', limit, () => {
  for (const [what, text] of [
    ['float8', FLOATS],
    ['timestamptz', TIMES],
  ]) {
    it(`${what}: the values of their texts, alone and together, as objects and arrays`, async () => {
      for (const values of [[1], [16], [12], [3]]) {
        for (const rowMode of [undefined, 'array']) {
          const config = { text, values, rowMode }
          const wanted = await unnamed(config)
          const got = await withClient({}, (client) => bound(client, config))
          if (rowMode === undefined) assert.deepEqual(cells(got), cells(wanted))
          assert.deepEqual(got.rows, wanted.rows)
          assert.deepEqual(got.fields, wanted.fields)
        }
      }
    })
  }

  it('are asked for in binary format, where their type is one of the two', () =>
    withFormats({}, async (client, formats) => {
      const text = 'SELECT $1::int4 AS a, 1.5::float8 AS b, now() AS c, now()::timestamp AS d, 1.5::float4 AS e'
      await bound(client, { text, values: [1] })
      assert.deepEqual(formats(), [0, 1, 1, 0, 0])
      const field = (result) => result.fields.map(({ format }) => format)
      assert.deepEqual(field(await client.query(text, [1])), Array(5).fill('text'))
    }))

  it('are not where a parser of its own wants the text', async () => {
    const text = 'SELECT $1::float8 / 3 AS a, now() AS b'
    const parsers = { getTypeParser: () => (cell) => `${cell}` }
    await withFormats({ types: parsers }, async (client, formats) => {
      await bound(client, { text, values: [1] })
      assert.deepEqual(formats(), [])
    })
    await withFormats({}, async (client, formats) => {
      const { rows } = await bound(client, { text, values: [1], types: parsers })
      assert.deepEqual(formats(), [])
      assert.equal(rows[0].a, '0.3333333333333333')
      client.setTypeParser(1184, (cell) => `at ${cell}`)
      assert.match((await client.query(text, [1])).rows[0].b, /^at \d/)
      assert.deepEqual(formats(), [])
    })
    const parser = pg.types.getTypeParser(701)
    pg.types.setTypeParser(701, (cell) => `float ${cell}`)
    try {
      await withFormats({}, async (client, formats) => {
        const { rows } = await bound(client, { text, values: [1] })
        assert.equal(rows[0].a, 'float 0.3333333333333333')
        assert.deepEqual(formats(), [0, 1])
      })
    } finally {
      pg.types.setTypeParser(701, parser)
    }
  })

  it('a parser that is set while its query is under way gets the text of the value', () =>
    withClient({}, async (client) => {
      for (const [oid, text] of [
        [701, FLOATS],
        [1184, TIMES],
      ]) {
        const values = [1]
        const parser = pg.types.getTypeParser(oid)
        await client.query("SET TIME ZONE 'UTC'")
        await bound(client, { text, values })
        try {
          const query = client.query(text, values)
          pg.types.setTypeParser(oid, (cell) => `= ${cell}`)
          const got = await query
          const wanted = await unnamed({ text: `SET TIME ZONE 'UTC'; ${text.replace('$1', '1')}` })
          // Finer than a millisecond it is not any more.
          const cut = (x) => (x === null ? x : x.replace(/(\.\d{3})\d+(?=\+)/, '$1'))
          assert.deepEqual(cells(got), cells(wanted[1]).map(oid === 1184 ? cut : (x) => x))
        } finally {
          pg.types.setTypeParser(oid, parser)
        }
      }
    }))

  it('floats are texts where extra_float_digits rounds them', async () => {
    const text = 'SELECT $1::float8 / 3 AS x'
    const rounded = [{ x: 0.333333333333333 }]
    for (const change of [
      'SET extra_float_digits TO 0',
      "SELECT set_config('EXTRA_FLOAT_DIGITS', '0', false)",
      'BEGIN; SET LOCAL extra_float_digits TO 0',
    ]) {
      await withClient({}, async (client) => {
        await bound(client, { text, values: [1] })
        await client.query(change)
        assert.deepEqual((await client.query(text, [1])).rows, rounded, change)
      })
    }
    await withClient({ options: '-c extra_float_digits=0' }, async (client) => {
      assert.deepEqual((await bound(client, { text, values: [1] })).rows, rounded)
    })
    await withFormats({}, async (client, formats) => {
      await bound(client, { text, values: [1] })
      await client.query('SET extra_float_digits TO 3')
      await client.query('RESET ALL')
      await bound(client, { text: `${text} -- another one`, values: [1] })
      assert.deepEqual(formats(), [1], 'it was asked again')
    })
  })

  it('floats are texts after somebody else has changed extra_float_digits', () =>
    withClient({}, async (client) => {
      const text = 'SELECT $1::float8 / 3 AS x'
      await bound(client, { text, values: [1] })
      const cursor = client.query(new Cursor("SELECT set_config('extra_float_digits', '0', false)"))
      await cursor.read(1)
      await cursor.close()
      for (let i = 0; i <= BEFORE; i++) {
        assert.deepEqual((await client.query(text, [1])).rows, [{ x: 0.333333333333333 }])
      }
    }))

  it('timestamptz is what node-postgres makes of it in other date styles', () =>
    withClient({}, async (client) => {
      const config = { text: 'SELECT $1::timestamptz AS x', values: ['2024-02-03 04:05:06+00'] }
      await bound(client, config)
      for (const style of ['German', 'SQL, DMY', 'Postgres']) {
        await client.query(`SET DateStyle TO '${style}'`)
        const got = await bound(client, config)
        assert.deepEqual(got.rows, (await client.query({ ...config, name: `own ${style}` })).rows, style)
      }
    }))

  it('a column that has become another type is told as ever', () =>
    withClient({}, async (client) => {
      const text = 'SELECT x FROM turning WHERE x > $1'
      await client.query(
        'DROP TABLE IF EXISTS turning; CREATE TABLE turning (x float8); INSERT INTO turning VALUES (1.5)',
      )
      assert.deepEqual((await bound(client, { text, values: [1] })).rows, [{ x: 1.5 }])
      await withClient({}, (other) => other.query('ALTER TABLE turning ALTER x TYPE numeric'))
      assert.deepEqual((await client.query(text, [1])).rows, [{ x: '1.5' }])
      await withClient({}, (other) => other.query('DROP TABLE turning'))
      assert.equal((await rejection(client.query(text, [1]))).code, '42P01')
    }))
})
