'use strict'

process.env.TZ = 'Europe/Moscow'

const assert = require('node:assert/strict')
const { describe, it } = require('node:test')
const { withClient } = require('./support')

const value = (expression, values) =>
  withClient({}, async (client) => (await client.query(`SELECT ${expression} AS v`, values)).rows[0].v)

/** SQL, and the value that it becomes. */
const VALUES = [
  ['1::int2', 1],
  ['(-2147483648)::int4', -2147483648],
  ['2147483647::int4', 2147483647],
  ['4294967295::oid', 4294967295],
  ['9223372036854775807::int8', '9223372036854775807'],
  ["'12.50'::numeric", '12.50'],
  ["'NaN'::numeric", 'NaN'],
  ['1.5::float4', 1.5],
  ["'NaN'::float8", NaN],
  ["'-Infinity'::float8", -Infinity],
  ['1e-7::float8', 1e-7],
  ['true', true],
  ['false', false],
  ["'x'::char(3)", 'x  '],
  ["''::text", ''],
  ['\'{"a": [1, null]}\'::json', { a: [1, null] }],
  ["'null'::jsonb", null],
  ["'\\x00ff'::bytea", Buffer.from([0, 255])],
  ["''::bytea", Buffer.alloc(0)],
  ["'2024-02-29'::date", new Date(2024, 1, 29)],
  ["'0044-03-15 BC'::date", new Date(-43, 2, 15)],
  ["'infinity'::date", Infinity],
  ["'2024-02-29 13:14:15.678901'::timestamp", new Date(2024, 1, 29, 13, 14, 15, 678)],
  ["'-infinity'::timestamp", -Infinity],
  ["'2024-02-29 13:14:15+05:30'::timestamptz", new Date(Date.UTC(2024, 1, 29, 7, 44, 15))],
  ["'0001-01-01 00:00:00+00'::timestamptz", new Date('0001-01-01T00:00:00Z')],
  ["'infinity'::timestamptz", Infinity],
  ["'13:14:15.5'::time", '13:14:15.5'],
  ["'00000000-0000-0000-0000-00000000000a'::uuid", '00000000-0000-0000-0000-00000000000a'],
  ["'10.0.0.1/8'::inet", '10.0.0.1/8'],
  ["'(1.5,2)'::point", { x: 1.5, y: 2 }],
  ["'<(1,2),3>'::circle", { x: 1, y: 2, radius: 3 }],
  ['ARRAY[1,NULL,3]', [1, null, 3]],
  [
    'ARRAY[[1,2],[3,4]]',
    [
      [1, 2],
      [3, 4],
    ],
  ],
  ['ARRAY[1,2]::int8[]', ['1', '2']],
  ['ARRAY[1.5,2]::numeric[]', [1.5, 2]],
  ["ARRAY['a,b','c\"d',NULL,'']", ['a,b', 'c"d', null, '']],
  ["ARRAY['x']::varchar[]", ['x']],
  ['ARRAY[true,false]', [true, false]],
  ["ARRAY['\\x01'::bytea]", [Buffer.from([1])]],
  ['ARRAY[\'{"a":1}\'::jsonb]', [{ a: 1 }]],
  ["ARRAY['2024-02-29'::date]", [new Date(2024, 1, 29)]],
  ["ARRAY['00000000-0000-0000-0000-00000000000a'::uuid]", ['00000000-0000-0000-0000-00000000000a']],
  ["'[0:1]={1,2}'::int[]", [1, 2]],
  ["ROW(1,'x')", '(1,x)'],
  ["'[1,5)'::int4range", '[1,5)'],
  ['NULL::int', null],
  ['NULL::bool', null],
  ['NULL::timestamptz', null],
]

describe('values from the server', () => {
  it("have node-postgres's JavaScript types", async () => {
    await withClient({}, async (client) => {
      for (const [expression, expected] of VALUES) {
        const { rows } = await client.query(`SELECT ${expression} AS v`)
        assert.deepEqual(rows[0].v, expected, expression)
      }
    })
  })

  it('are the same over many rows and as arrays', async () => {
    await withClient({}, async (client) => {
      const columns = VALUES.map(([expression], i) => `${expression} AS c${i}`).join(', ')
      const text = `SELECT ${columns} FROM generate_series(1, 20)`
      const { rows } = await client.query({ text, rowMode: 'array' })
      assert.equal(rows.length, 20)
      for (const row of rows)
        assert.deepEqual(
          row,
          VALUES.map(([, expected]) => expected),
        )
      const objects = await client.query(text)
      for (const row of objects.rows)
        assert.deepEqual(
          Object.values(row),
          VALUES.map(([, expected]) => expected),
        )
    })
  })

  it('are intervals with a toPostgres of their own', async () => {
    const interval = await value("'1 year 2 mons 3 days 04:05:06.789'::interval")
    assert.deepEqual(
      { ...interval },
      { years: 1, months: 2, days: 3, hours: 4, minutes: 5, seconds: 6, milliseconds: 789 },
    )
    assert.equal(await value('$1::interval::text', [interval]), '1 year 2 mons 3 days 04:05:06.789')
  })

  it("follow the session's time zone and date style", async () => {
    await withClient({}, async (client) => {
      for (const zone of ['UTC', 'Asia/Kolkata', 'America/St_Johns', 'Europe/Moscow']) {
        await client.query(`SET TIME ZONE '${zone}'`)
        const { rows } = await client.query("SELECT '2024-02-29 13:14:15.678Z'::timestamptz AS v")
        assert.equal(rows[0].v.toISOString(), '2024-02-29T13:14:15.678Z')
      }
    })
  })
})
