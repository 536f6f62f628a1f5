'use strict'

const { value, STRINGS } = require('./values')

/** Statements of every kind, right and wrong ones. Each is { text, values?, name?, more? } made anew from its random numbers. */

const TYPES =
  `text int4 int8 int2 float4 float8 numeric bool bytea json jsonb uuid date timestamp timestamptz time timetz
  interval point circle box inet cidr macaddr money xml bit varbit oid name "char" int4[] text[] bool[] float8[] numeric[]
  timestamptz[] date[] jsonb[] bytea[] uuid[] int4range daterange tstzrange tsvector regclass`.split(/\s+/)

const EXPRESSIONS =
  `1|-1|32767::int2|9223372036854775807|1.50|'NaN'::float8|'-Infinity'::float4|1e300::float8|true|NULL|NULL::int4
'text'|''|'ü😀'|E'a\\\\nb\\n"'|repeat('x', 70000)|'abc'::bpchar|'\\x00ff10'::bytea|''::bytea|'{"a":[1,null,"x"]}'::json|'[1, 2]'::jsonb|'null'::jsonb
'2024-02-29'::date|'infinity'::date|'0044-03-15 BC'::date|'12345-06-07'::date|'2024-03-31 02:30:00'::timestamp
'2024-03-31 02:30:00.123456'::timestamptz|'-infinity'::timestamptz|'0001-01-01 00:00:00 BC'::timestamptz|'24:00:00'::time
'1 year 2 mons -3 days 04:05:06.789'::interval|'-00:00:01'::interval|'P0D'::interval|'(1.5,-2)'::point|'<(1,2),3>'::circle
'{1,NULL,3}'::int4[]|'{{1,2},{3,4}}'::int4[]|'{}'::text[]|'{"a b","c\\"d",NULL,"NULL"}'::text[]|'{t,f,NULL}'::bool[]
'{1.1,NaN}'::float8[]|'{2024-01-01,infinity}'::date[]|'{"2024-01-01 00:00:00+02"}'::timestamptz[]|'{"\\\\x01"}'::bytea[]
'{"{\\"a\\": 1}"}'::jsonb[]|'[0:1]={5,6}'::int4[]|'{9223372036854775807}'::int8[]|'{"(1,2)"}'::point[]|'{"1 day"}'::interval[]
'[1,5)'::int4range|'127.0.0.1/8'::inet|'a=>1'|'12.34'::money|B'101'|'a b'::tsvector|'pg_class'::regclass|ROW(1,'x',NULL)
'6c0b3a3e-8b1a-4c6b-9d0a-1d6b8f1f5a11'::uuid|1::oid|'x'::"char"|'name'::name|'{a,b}'::name[]|current_setting('server_encoding')
'{1,2}'::int2[]|'{1,2}'::oid[]|'{x,y}'::varchar[]|'{1.5}'::numeric[]|'{1}'::float4[]|'{12:00:00}'::time[]|'{127.0.0.1}'::inet[]`
    .split(/\||\n/)
    .filter(Boolean)

const NAMES = ['a', 'b', 'a', '__proto__', '0', '10', 'constructor', 'toString', 'with "quotes"', "it's", 'ключ', '😀']
NAMES.push('a\\b', 'new\nline', 'length', 'then', '$1', '${x}', '`', 'x'.repeat(63))

const quoted = (name) => `"${name.replaceAll('"', '""')}"`
const column = (random) => `${random.pick(EXPRESSIONS)} AS ${quoted(random.pick(NAMES))}`

function literals(random) {
  const columns = Array.from({ length: 1 + random.int(6) }, () => column(random))
  const rows = random.chance(40) ? ` FROM generate_series(1, ${random.pick([0, 1, 3, 40, 700])}) g` : ''
  return { text: `SELECT ${columns.join(', ')}${rows}` }
}

function casts(random) {
  const count = 1 + random.int(3)
  const columns = Array.from({ length: count }, (_, i) => `$${i + 1}::${random.pick(TYPES)} AS c${i}`)
  return { text: `SELECT ${columns.join(', ')}`, values: Array.from({ length: count }, () => value(random)) }
}

function fitting(random) {
  const [type, one] = random.pick([
    ['text', () => random.pick(STRINGS)],
    ['int4', () => random.int(100000)],
    ['int8', () => BigInt(random.int(1000000000))],
    ['float8', () => random.int(1000) / 8],
    ['numeric', () => `${random.int(100)}.${random.int(100)}`],
    ['bool', () => random.chance(50)],
    ['bytea', () => Buffer.from(random.some(9, () => random.int(256)))],
    ['timestamptz', () => new Date(random.int(2000000000) * 1000)],
    ['timestamp', () => new Date(random.int(2000000000) * 1000)],
    ['jsonb', () => ({ a: random.int(9), b: [null, 'x'] })],
    // No NULL: as binary, pg reads a length that is none of it, and is busy for minutes.
    ['int4[]', () => random.some(4, () => (random.chance(20) ? 0 : random.int(99)))],
    ['text[]', () => random.some(4, () => random.pick(STRINGS.filter((text) => !text.includes('\0'))))],
  ])
  const rows = random.pick([1, 2, 50])
  return { text: `SELECT $1::${type} AS v, g FROM generate_series(1, ${rows}) g`, values: [one()] }
}

const FIXED = [
  '',
  ';',
  '-- only a comment',
  'SELECT',
  'SELECT FROM generate_series(1, 3)',
  'SELECT 1 AS a; SELECT 2 AS b',
  "SELECT 1 AS a; INSERT INTO t (a) VALUES ('m'); ; SELECT 2 AS b, 3 AS b",
  'SELECT 1; SELECT 1/0; SELECT 2',
  'BEGIN; SELECT 1; COMMIT',
  'VALUES (1, 2), (3, 4)',
  'TABLE t',
  'SELECT * FROM t ORDER BY id',
  'SELECT 10 / (3 - g) AS q FROM generate_series(1, 5) g',
  'SELECT nothing',
  'SELECT * FROM missing_table',
  'SELEC 1',
  'SELECT (1',
  "SELECT 'unterminated",
  'SELECT 1 WHERE $1',
  'SELECT 1/0',
  "SELECT 'x'::int",
  "INSERT INTO t (a) VALUES ('i') RETURNING a, b",
  "INSERT INTO t (a, b) SELECT 's', g FROM generate_series(1, 5) g",
  'INSERT INTO t (id) VALUES (1); INSERT INTO t (id) VALUES (1)',
  'INSERT INTO t (a) VALUES (NULL)',
  'UPDATE t SET b = b + 1',
  'UPDATE t SET b = -1',
  'DELETE FROM t WHERE b > 2',
  "MERGE INTO t USING (VALUES (1)) v(id) ON t.id = v.id WHEN MATCHED THEN UPDATE SET a = 'merged'",
  'TRUNCATE t',
  'CREATE TEMP TABLE u (x int)',
  'DROP TABLE u',
  'DROP TABLE IF EXISTS not_there',
  'SET search_path TO DEFAULT',
  "SET application_name TO 'fuzz'",
  'SHOW application_name',
  "SET TimeZone TO 'Asia/Kolkata'",
  'RESET TimeZone',
  "DO $$ BEGIN RAISE NOTICE 'noticed %', 1; RAISE WARNING 'warned' USING HINT = 'h', DETAIL = 'd'; END $$",
  "DO $$ BEGIN RAISE EXCEPTION 'raised' USING ERRCODE = 'ZZ999', HINT = 'h', DETAIL = 'd', COLUMN = 'c', TABLE = 't', SCHEMA = 's', DATATYPE = 'dt', CONSTRAINT = 'k'; END $$",
  "DO $$ BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN RAISE NOTICE 'caught'; END $$",
  'PREPARE p AS SELECT 1 AS prepared',
  'EXECUTE p',
  'DEALLOCATE p',
  'DEALLOCATE ALL',
  'DISCARD ALL',
  'DECLARE c CURSOR WITH HOLD FOR SELECT g FROM generate_series(1, 9) g',
  'FETCH 3 FROM c',
  'MOVE 2 FROM c',
  'CLOSE c',
  'LISTEN ch',
  "NOTIFY ch, 'payload'",
  "SELECT pg_notify('ch', 'пейлоад') AS n",
  'UNLISTEN *',
  'COPY t (a, b) TO STDOUT',
  'COPY (SELECT g FROM generate_series(1, 2000) g) TO STDOUT',
  'COPY t (a) FROM STDIN',
  'BEGIN',
  'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY',
  'COMMIT',
  'ROLLBACK',
  'SAVEPOINT s',
  'ROLLBACK TO s',
  'RELEASE s',
  'EXPLAIN (COSTS OFF) SELECT 1',
  'SELECT version() IS NOT NULL AS v',
  'CREATE TEMP VIEW w AS SELECT 1 AS one',
  'SELECT * FROM w',
  'LOCK TABLE t',
  'VACUUM t',
  "SELECT set_config('statement_timeout', '60000', false)",
  'SELECT g, repeat(g::text, 50) AS r FROM generate_series(1, 3000) g',
]

const ODD = [
  { text: 'SELECT 1 AS a', values: 'not an array' },
  { text: 'SELECT 1 AS a', values: [] },
  { text: 'SELECT 1 AS a', values: [1] },
  { text: 'SELECT $1::int AS a, $2::int AS b', values: [1] },
  { text: 'SELECT $1', values: [null] },
  { text: undefined },
  { text: '', values: [1] },
  { text: 'SELECT 1; SELECT 2', values: [1] },
  { text: 'SELECT 1; SELECT 2', queryMode: 'extended' },
  { text: '', queryMode: 'extended' },
  { text: ' ; ', queryMode: 'extended' },
  { text: 'SELECT g FROM generate_series(1, 10) g', rows: 3 },
  { text: 'SELECT 1 AS a', portal: 'portal', queryMode: 'extended' },
  { text: 'COPY t (a, b) TO STDOUT', queryMode: 'extended' },
  { text: 'BEGIN', queryMode: 'extended' },
  { text: 'SELECT * FROM t WHERE a = $1 OR b = $2', values: ['i', 3] },
  { text: 'INSERT INTO t (a, b) VALUES ($1, $2) RETURNING *', values: ['v', 5] },
  { text: 'INSERT INTO t (id) VALUES ($1)', values: [1] },
  { text: 'UPDATE t SET a = $1', values: ['u'] },
  { text: 42 },
  { text: null, values: [1] },
]

function named(random) {
  const name = random.pick(['n1', 'n2', 'ñ'])
  return random.pick([
    { name, text: 'SELECT $1::int AS a', values: [random.int(9)] },
    { name, text: 'SELECT $1::int AS a', values: ['wrong'] },
    { name, text: 'SELECT 1 AS other' },
    { name, values: [3] },
    { name },
    { name, text: 'SELECT * FROM t WHERE b < $1 ORDER BY id', values: [10] },
    { name: `${name}bad`, text: 'SELEC $1', values: [1] },
    { name, text: 'SELECT $1::text[] AS v', values: [['a', null]] },
  ])
}

function statement(random) {
  const roll = random.int(100)
  let out
  if (roll < 30) out = literals(random)
  else if (roll < 45) out = casts(random)
  else if (roll < 55) out = fitting(random)
  else if (roll < 85) out = { text: random.pick(FIXED) }
  else if (roll < 93) out = { ...random.pick(ODD) }
  else out = named(random)
  if (random.chance(10)) out.rowMode = 'array'
  if (random.chance(6)) out.binary = true
  // pg never answers COPY FROM STDIN in the extended protocol (docs/differences-from-pg.md).
  if (random.chance(4) && !/FROM STDIN/.test(out.text)) out.queryMode = 'extended'
  if (random.chance(4)) out.types = { getTypeParser: (oid, format) => (text) => `${oid} ${format} ${typeof text}` }
  if (random.chance(2)) {
    out.types = {
      getTypeParser: () => () => {
        throw new Error('parser failed')
      },
    }
  }
  return out
}

module.exports = { statement }
