'use strict'

/** Parameters of every kind that a program may pass, by a seed: each call makes new ones. */

const STRINGS = [
  '',
  'a',
  'null',
  'NULL',
  '{1,2}',
  '{"a":1}',
  "it's",
  'back\\slash',
  '"quoted"',
  'zażółć',
  'Привет',
  '😀 and 👩‍👩‍👧',
  '\ud800',
  'a\0b',
  'line\nbreak\r\ttab',
  '2024-02-29',
  '0044-03-15 BC',
  '12',
  '-7.50',
  '1e3',
  'true',
  '\\x00ff',
  'infinity',
  ' spaces ',
  ','.repeat(3),
]

const NUMBERS = [0, -0, 1, -1, 42, 1.5, -2.25, NaN, Infinity, -Infinity, 1e21, 1e-7, 2147483648, 9007199254740991]

const MOMENTS = [
  0,
  1,
  -1,
  1711846800000, // in a gap of summer time
  1729987200000,
  253402300800000, // the year 10000
  -62135596800001, // the end of the year 0
  -62200000000000,
  -99999999999999,
  951782400000,
]

function bytes(random) {
  return Buffer.from(random.some(12, () => random.int(256)))
}

function plainObject(random, depth) {
  const out = {}
  for (const key of random.some(3, () => random.pick(['a', 'b', 'ключ', '', '__proto__x', '0']))) {
    out[key] = depth > 0 ? value(random, depth - 1) : random.int(9)
    if (typeof out[key] === 'bigint' || typeof out[key] === 'symbol') out[key] = 1
  }
  return out
}

const KINDS = [
  () => null,
  () => undefined,
  (random) => random.chance(50),
  (random) => random.pick(NUMBERS),
  (random) => random.int(1000000) - 500000,
  (random) => BigInt(random.int(1000000)) * 10n ** BigInt(random.int(25)),
  (random) => random.pick(STRINGS),
  (random) => random.pick(STRINGS) + random.pick(STRINGS),
  (random) => 'long '.repeat(random.int(30000)),
  (random) => new Date(random.pick(MOMENTS)),
  (random) => new Date(random.int(4000000000) * 1000 + random.int(1000)),
  bytes,
  (random) => new Uint8Array(bytes(random)),
  (random) => new Float64Array(random.some(3, () => random.pick(NUMBERS))),
  (random) => new DataView(new ArrayBuffer(9), random.int(4), random.int(5)),
  (random) => new Uint16Array([1, 2, 65535]).subarray(random.int(3)),
  (random) => new ArrayBuffer(random.int(4)),
  (random, depth) => random.some(4, () => (depth > 0 ? value(random, depth - 1) : random.int(9))),
  (random) => [[1, 2], random.some(2, () => random.pick(STRINGS))],
  // eslint-disable-next-line no-sparse-arrays
  () => [1, , 3],
  plainObject,
  (random) => ({ toJSON: () => `json ${random.int(9)}` }),
  (random, depth) => ({ toPostgres: (prepare) => prepare(depth > 0 ? value(random, depth - 1) : 1) }),
  () => ({ toPostgres: () => undefined }),
  () => {
    const endless = { toPostgres: () => endless }
    return endless
  },
  () => {
    const circular = {}
    circular.self = circular
    return circular
  },
  () => Symbol('s'),
  () => new Map([[1, 2]]),
  () => /re/g,
  () => new String('boxed'),
  () => new Number(7),
  () => Object.assign(Object.create(null), { bare: 1 }),
  () => function named() {},
  () => ({
    toPostgres() {
      throw new Error('toPostgres failed')
    },
  }),
]

function value(random, depth = 2) {
  return random.pick(KINDS)(random, depth)
}

module.exports = { value, STRINGS }
