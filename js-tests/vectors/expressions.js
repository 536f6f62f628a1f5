'use strict'

/** SQL expressions of every type with a default parser, around every edge that its parser has. */

const years = [
  '4713-01-01 BC',
  '0100-06-15 BC',
  '0044-03-15 BC',
  '0002-12-31 BC',
  '0001-01-01 BC',
  '0001-01-01',
  '0050-07-01',
  '0099-12-31',
  '0100-01-01',
  '0999-12-31',
  '1000-02-28',
  '1582-10-15',
  '1883-11-18',
  '1900-02-28',
  '1916-05-01',
  '1930-06-21',
  '1941-10-01',
  '1942-05-15',
  '1945-10-15',
  '1969-12-31',
  '1970-01-01',
  '1991-03-31',
  '2000-02-29',
  '2011-03-27',
  '2014-10-26',
  '2024-02-29',
  '2024-03-10',
  '2024-11-03',
  '2038-01-19',
  '9999-12-31',
  '10000-01-01',
  '12345-06-07',
  '99999-12-31',
]
const times = [
  '00:00:00',
  '00:30:00',
  '01:30:00',
  '02:00:00',
  '02:30:00',
  '02:59:59.999999',
  '12:00:00.5',
  '23:59:59.999999',
]
const fractions = ['.1', '.12', '.123', '.1234', '.12345', '.123456', '.000001', '.9999995', '.099', '.0', '']
const zones = ['', '+00', '+05:30', '-08', '+02:30:17', '-00:00:01', '+14', ' Europe/Moscow', ' America/New_York']

const withEra = (day, rest) => (day.endsWith(' BC') ? `${day.slice(0, -3)}${rest} BC` : `${day}${rest}`)

function moments() {
  const out = ["'infinity'::date", "'-infinity'::date"]
  for (const type of ['timestamp', 'timestamptz']) out.push(`'infinity'::${type}`, `'-infinity'::${type}`)
  for (const day of years) {
    out.push(`'${day}'::date`)
    for (const time of times) {
      out.push(`'${withEra(day, ` ${time}`)}'::timestamp`, `'${withEra(day, ` ${time}`)}'::timestamptz`)
    }
  }
  for (const fraction of fractions) {
    out.push(`'2024-05-06 07:08:09${fraction}'::timestamp`, `'2024-05-06 07:08:09${fraction}+03'::timestamptz`)
    out.push(`'07:08:09${fraction}'::time`, `'07:08:09${fraction}+03'::timetz`)
    for (const digits of [0, 1, 3, 5]) out.push(`'1999-05-06 07:08:09${fraction}'::timestamptz(${digits})`)
  }
  for (const zone of zones) {
    out.push(`'2024-07-01 12:00:00${zone}'::timestamptz`, `'1930-01-01 12:00:00${zone}'::timestamptz`)
  }
  return out
}

function numbers() {
  const out = []
  for (const value of ['0', '1', '-1', '32767', '-32768']) out.push(`'${value}'::int2`)
  for (const value of ['0', '2147483647', '-2147483648', '-2147483647']) out.push(`'${value}'::int4`)
  for (const value of ['0', '9007199254740993', '9223372036854775807', '-9223372036854775808'])
    out.push(`'${value}'::int8`)
  for (const value of ['0', '1', '4294967295']) out.push(`'${value}'::oid`)
  const floats = ['0', '-0', '1.5', '-1.25', '1e-7', 'NaN', 'Infinity', '-Infinity', '3.4028235e38', '1.17549435e-38']
  for (const value of floats) out.push(`'${value}'::float4`, `'${value}'::float8`)
  for (const value of ['1.7976931348623157e308', '5e-324', '0.1', '123456789012345680']) out.push(`'${value}'::float8`)
  for (const value of ['0', '-0.00', '1.50', '123456789012345678901234567890.123456789', 'NaN', '1e-20', 'Infinity']) {
    out.push(`'${value}'::numeric`)
  }
  return out
}

const texts = `'text'::text|''::text|'ü😀'::text|E'a\\b\\f\\n\\r\\t\\x01"\\'\\\\'::text|repeat('ab', 50000)|'x'::bpchar(5)|'v'::varchar|'n'::name|'c'::"char"|NULL::text
true|false|NULL::bool|'\\x'::bytea|'\\x00'::bytea|'\\x5c78ff80'::bytea|'{"a": [1, 2.50, null, "ü", {"b": true}]}'::json|'"text"'::json|'null'::json|'1e400'::json|' 12 '::json
'{"b": 1, "a": 2, "a": 3}'::jsonb|'[]'::jsonb|'{"__proto__": {"x": 1}}'::json|'{"__proto__": 1}'::jsonb|'6c0b3a3e-8b1a-4c6b-9d0a-1d6b8f1f5a11'::uuid|'10.0.0.1/8'::inet|'10.0.0.0/8'::cidr
'08:00:2b:01:02:03'::macaddr|'12.34'::money|B'1010'|B'101'::varbit|'<a>x</a>'::xml|'a & b'::tsquery|'(1,2)'::point|'(-1.5e3,NaN)'::point|'(Infinity,-0)'::point|'<(1.5,2),3>'::circle|'((0,0),(1,1))'::box
'[(0,0),(1,1)]'::lseg|'((0,0),(1,1),(2,0))'::path|'{1,2,3}'::line|'((0,0),(1,1))'::polygon|'[1,10)'::int4range|'[2024-01-01,infinity)'::daterange|'empty'::tstzrange|'{[1,2),[5,9)}'::int4multirange|ROW(1, 'a "b"', NULL)|'16/B374D848'::pg_lsn|'pg_class'::regclass
'1 year'::interval|'-1 year -2 mons +3 days -04:05:06.789'::interval|'00:00:00'::interval|'1 mon'::interval|'100 days'::interval|'-00:00:00.000001'::interval|'1234567:00:00'::interval|'2 years 3 mons'::interval|'0.5 seconds'::interval|'-3 days'::interval`

const arrays = `'{}'::int4[]|'{1,NULL,-3}'::int4[]|'{{1,2},{NULL,4}}'::int4[]|'{{{1},{2}},{{3},{4}}}'::int2[]|'[0:1]={5,6}'::int4[]|'[-1:0][2:3]={{1,2},{3,4}}'::int4[]|'{9007199254740993,-1}'::int8[]|'{1.50,NaN}'::numeric[]|'{1.5,NaN,Infinity,-0}'::float8[]|'{1.5}'::float4[]|'{t,f,NULL}'::bool[]
'{a,"b c","d\\"e","f\\\\g",NULL,"NULL","",",","{}"}'::text[]|'{"ü😀"}'::varchar[]|'{x}'::bpchar[]|'{a}'::name[]|'{"a"}'::"char"[]|'{"\\\\x00ff","\\\\x"}'::bytea[]|'{"{\\"a\\": [1, \\"}\\"]}","null",NULL}'::json[]|'{"{\\"a\\": 1}"}'::jsonb[]
'{2024-02-29,infinity,-infinity,NULL,"0044-03-15 BC",12345-06-07}'::date[]|'{"2024-03-31 02:30:00","infinity","0001-01-01 00:00:00 BC"}'::timestamp[]|'{"2024-03-31 02:30:00.123456+05:30",NULL,-infinity}'::timestamptz[]|'{12:00:00.5}'::time[]|'{12:00:00+03}'::timetz[]
'{"1 day","-00:00:01",NULL}'::interval[]|'{"(1,2)","(3,4)"}'::point[]|'{6c0b3a3e-8b1a-4c6b-9d0a-1d6b8f1f5a11}'::uuid[]|'{10.0.0.1}'::inet[]|'{10.0.0.0/8}'::cidr[]|'{08:00:2b:01:02:03}'::macaddr[]|'{1,2}'::oid[]|'{12.34}'::money[]|'{"[1,5)"}'::int4range[]|'{"[1.5,2]"}'::numrange[]|'{"[2024-01-01,2024-02-01)"}'::daterange[]|'{<a/>}'::xml[]|'{pg_class}'::regclass[]|'{pg_proc}'::regproc[]`

const split = (list) => list.split(/\||\n/)

/** Types whose binary form pg-types has a parser for. */
const BINARY =
  /::(int2|int4|int8|oid|numeric|float4|float8|bool|text|varchar|timestamp|timestamptz|int4\[\]|int8\[\]|text\[\])$/

module.exports = {
  moments: moments(),
  others: [...numbers(), ...split(texts), ...split(arrays)],
  isBinary: (expression) => BINARY.test(expression),
}
