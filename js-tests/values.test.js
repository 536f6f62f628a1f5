'use strict'

process.env.TZ = 'Europe/Moscow'

const assert = require('node:assert/strict')
const { describe, it } = require('node:test')
const { pg } = require('./provider')
const { withClient, rejection } = require('./support')

const text = (value) =>
  withClient({}, async (client) => (await client.query('SELECT $1::text AS v', [value])).rows[0].v)

/** What a value is as text on the server. */
const TEXTS = [
  [null, null],
  [undefined, null],
  [true, 'true'],
  [false, 'false'],
  [10n, '10'],
  [-0, '0'],
  [NaN, 'NaN'],
  [1e21, '1e+21'],
  [Infinity, 'Infinity'],
  [1.5, '1.5'],
  ['', ''],
  ['Ж', 'Ж'],
  [new Date(0), '1970-01-01T03:00:00.000+03:00'],
  [new Date(Date.UTC(2024, 6, 1, 12, 30, 15, 7)), '2024-07-01T15:30:15.007+03:00'],
  [[], '{}'],
  [[1, null, undefined, true], '{"1",NULL,NULL,"true"}'],
  [['a"b', 'c\\d', 'e,f', '{g}', ''], '{"a\\"b","c\\\\d","e,f","{g}",""}'],
  [
    [
      [1, 2],
      [3, 4],
    ],
    '{{"1","2"},{"3","4"}}',
  ],
  [[{ a: 1 }], '{"{\\"a\\":1}"}'],
  [[Buffer.from([1, 255]), new Uint8Array([2])], '{\\\\x01ff,\\\\x02}'],
  [[new Date(0)], '{"1970-01-01T03:00:00.000+03:00"}'],
  [{ a: [1, 'x'] }, '{"a":[1,"x"]}'],
  [Object.create(null), '{}'],
  [{ toJSON: () => undefined }, null],
  [{ toJSON: () => 'j' }, '"j"'],
  [{ toPostgres: () => 'own' }, 'own'],
  [{ toPostgres: (prepare) => prepare([1, 'x']) }, '{"1","x"}'],
  [{ toPostgres: () => ({ toPostgres: () => 7 }) }, '7'],
  [{ toPostgres: () => null }, null],
  [{ toPostgres: () => ({ plain: true }) }, '{"plain":true}'],
  [Symbol('s'), 'Symbol(s)'],
]

describe('parameters', () => {
  it('go out as the text that node-postgres gives them', async () => {
    for (const [value, expected] of TEXTS) {
      assert.equal(await text(value), expected)
      assert.equal(pg.utils.prepareValue(value) ?? null, expected)
    }
  })

  it('of views go out as the bytes that they show', async () => {
    const memory = new Uint8Array([9, 1, 2, 3, 9]).buffer
    await withClient({}, async (client) => {
      for (const value of [
        Buffer.from([1, 2, 3]),
        new Uint8Array(memory, 1, 3),
        new DataView(memory, 1, 3),
        Buffer.from(memory, 1, 3),
      ]) {
        const { rows } = await client.query('SELECT $1::bytea AS b', [value])
        assert.deepEqual(rows[0].b, Buffer.from([1, 2, 3]))
      }
      const { rows } = await client.query('SELECT $1::bytea AS b', [new Uint16Array([0x0201])])
      assert.deepEqual(rows[0].b, Buffer.from([1, 2]))
      assert.deepEqual((await client.query('SELECT $1::bytea AS b', [Buffer.alloc(0)])).rows[0].b, Buffer.alloc(0))
    })
  })

  it('of dates before Christ and far away keep their meaning', async () => {
    await withClient({}, async (client) => {
      for (const year of [-1, 0, 1, 99, 10000]) {
        const date = new Date(0)
        date.setUTCFullYear(year, 5, 15)
        const { rows } = await client.query('SELECT $1::timestamptz AS d', [date])
        // Old local times have offsets with seconds, which the text leaves out.
        assert.ok(Math.abs(rows[0].d - date) < 60000, `${year}`)
      }
    })
  })

  it('of dates go out in UTC under defaults.parseInputDatesAsUTC', async () => {
    pg.defaults.parseInputDatesAsUTC = true
    try {
      assert.equal(await text(new Date(0)), '1970-01-01T00:00:00.000+00:00')
    } finally {
      pg.defaults.parseInputDatesAsUTC = false
    }
  })

  it('are typed by the server', async () => {
    await withClient({}, async (client) => {
      const { rows } = await client.query(
        `SELECT ($1 || ' minutes')::interval = '15 minutes' AS a, $2::jsonb ->> 'x' AS b, $3::uuid AS c,
          $4::numeric + 1 AS d, $5 = ANY($6::int[]) AS e, sha256($7) IS NOT NULL AS f`,
        [15, { x: 'y' }, '00000000-0000-0000-0000-000000000001', '1.50', 3, [1, 2, 3], Buffer.from('x')],
      )
      assert.deepEqual(rows, [
        { a: true, b: 'y', c: '00000000-0000-0000-0000-000000000001', d: '2.50', e: true, f: true },
      ])
    })
  })

  it('may be 13,000 in one statement', async () => {
    await withClient({}, async (client) => {
      const values = Array.from({ length: 13000 }, (_, i) => i)
      const places = values.map((_, i) => `($${i + 1}::int)`).join(',')
      const { rowCount } = await client.query(`SELECT * FROM (VALUES ${places}) AS v`, values)
      assert.equal(rowCount, 13000)
    })
  })

  it('that refer to themselves through toPostgres are refused', async () => {
    const circle = { toPostgres: () => circle }
    assert.match(
      (await rejection(text(circle))).message,
      /^circular reference detected while preparing ".*" for query$/,
    )
  })

  it("with a zero byte in the text are the server's to refuse, and the client goes on", async () => {
    await withClient({}, async (client) => {
      const error = await rejection(client.query('SELECT $1::text', ['a\0b']))
      assert.equal(error.code, '22021')
      assert.equal((await client.query('SELECT 1 AS a')).rows[0].a, 1)
    })
  })

  it('keep lone surrogates from breaking the connection', async () => {
    await withClient({}, async (client) => {
      assert.equal((await client.query('SELECT $1::text AS v', ['a\ud800b'])).rows[0].v, 'a\ufffdb')
    })
  })
})
