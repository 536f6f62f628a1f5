'use strict'

process.env.TZ = 'Europe/Moscow'

const assert = require('node:assert/strict')
const { execFileSync } = require('node:child_process')
const { describe, it } = require('node:test')
const pgTypes = require('pg-types')
const types = require('../../node-binding/js/types')
const { Shape } = require('../../node-binding/js/decode')

const DECODE = JSON.stringify(require.resolve('../../node-binding/js/decode'))

function equal(oid, text) {
  const conversion = types.FAST.get(oid)
  const read = types.READ[conversion]
  // Within a batch the cell has neighbours, digits perhaps.
  const fast = read === undefined ? types.CONVERT[conversion](text) : read(`9${text}9`, 1, text.length)
  assert.deepEqual(fast, pgTypes.getTypeParser(oid, 'text')(text), `${oid}: ${text}`)
}

const field = (name, dataTypeID, format = 'text') => ({
  name,
  tableID: 0,
  columnID: 0,
  dataTypeID,
  dataTypeSize: 0,
  dataTypeModifier: -1,
  format,
})

describe('fast type parsers', () => {
  it('cover, with the slow ones, every type that pg-types parses', () => {
    const known = new Set()
    require('pg-types/lib/textParsers').init((oid) => known.add(oid))
    assert.deepEqual([...types.FAST.keys(), ...types.SLOW].sort(), [...known].sort())
  })

  it('read numbers as JavaScript does, wherever they lie', () => {
    const random = [...Array(20000)].map(() => (Math.random() - 0.5) * 10 ** Math.floor(Math.random() * 40 - 20))
    const short = random.map((number) => Math.round(number * 1000) / 1000)
    const special = [
      'NaN',
      'Infinity',
      '-Infinity',
      '-0',
      '0',
      '1e+20',
      '1e-05',
      '-1.5e+300',
      '0.1',
      '9007199254740993',
    ]
    const long = [
      '123456789012345678901234567890',
      '0.1234567890123456789012345',
      '9007199254740991',
      '-0.5',
      '4294967295',
    ]
    for (const text of [...random, ...short].map(String).concat(special, long)) equal(701, text)
  })

  it('read times as pg-types does', () => {
    const dates = ['2024-02-29', '1970-01-01', '0100-01-01', '0099-12-31', '0001-01-01', '9999-12-31', '10000-01-01']
    const times = ['00:00:00', '13:14:15', '23:59:59.999999', '01:02:03.1', '01:02:03.001', '04:05:06.12', '24:00:00']
    const zones = ['', '+00', '+03', '-03', '+05:30', '-03:30', '+02:30:17', '-00:44:30', ' BC', '+00 BC']
    for (const date of [...dates, '0044-03-15 BC']) {
      equal(1082, date)
      for (const time of times) {
        for (const zone of zones) {
          equal(1184, `${date} ${time}${zone}`)
          equal(1114, `${date} ${time}${zone}`)
        }
      }
    }
    for (const oid of [1082, 1114, 1184]) {
      for (const odd of [
        'infinity',
        '-infinity',
        'Thu Feb 29 13:14:15 2024 MSK',
        '29/02/2024 13:14:15',
        '02-29-2024',
        'x',
      ]) {
        equal(oid, odd)
      }
    }
  })

  it('read every millisecond of a second, and microseconds, as pg-types does', () => {
    for (let i = 0; i < 1000; i++) {
      const digits = String(i).padStart(3, '0')
      equal(1184, `2024-02-29 13:14:15.${digits}+03`)
      equal(1184, `2024-02-29 13:14:15.${digits}999+03`)
      equal(1114, `2024-02-29 13:14:15.${digits.replace(/0+$/, '') || '0'}`)
    }
  })

  it('read numbers, booleans and bytes as pg-types does', () => {
    for (const text of ['0', '-1', '2147483647', '4294967295']) for (const oid of [21, 23, 26]) equal(oid, text)
    for (const text of ['0', '-0', '1.5', '1e-7', '1e+21', 'NaN', 'Infinity', '-Infinity', '0.1']) {
      for (const oid of [700, 701]) equal(oid, text)
    }
    for (const text of ['t', 'f']) equal(16, text)
    for (const text of ['\\x', '\\x00ff', 'old\\\\style\\000']) equal(17, text)
    assert.equal(pgTypes.getTypeParser(20, 'text')('-9223372036854775808'), '-9223372036854775808')
  })
})

describe('decoders', () => {
  const shape = () =>
    new Shape([field('i', 23), field('b', 16), field('s', 25), field('__proto__', 23), field('i', 701)])
  // The same two rows, as kinds and as text.
  const packed = Int32Array.from([5, 1, 1, 7, 3, -2147483648, -1, -1, -2147483648, -1])
  const texts = Int32Array.from([1, 1, 1, 1, 3, -1, -1, -1, -1, -1])
  const row = (...values) => Object.fromEntries(['i', 'b', 's', '__proto__'].map((name, n) => [name, values[n]]))

  it('give the same rows interpreted and compiled, from kinds and from text', () => {
    const expected = [row(2.5, true, 'x', 7), row(null, null, null, null)]
    for (const source of [undefined, pgTypes]) {
      const decoder = shape().decoder(false, source)
      for (let use = 0; use < 4; use++) {
        for (const [words, hold, text] of [
          [packed, true, 'x2.5'],
          [texts, false, '5tx72.5'],
        ]) {
          const out = []
          decoder.decode(words, 0, 2, hold, text, out)
          assert.equal(JSON.stringify(out), JSON.stringify(expected))
          assert.equal(Object.getPrototypeOf(out[0]), Object.prototype)
        }
      }
    }
  })

  it('give custom parsers the text, of packed kinds too', () => {
    const source = { getTypeParser: (oid) => (text) => `${oid}:${text}` }
    const decoder = shape().decoder(true, source)
    for (let use = 0; use < 3; use++) {
      const out = []
      decoder.decode(packed, 0, 2, true, 'x2.5', out)
      assert.deepEqual(out, [
        ['23:5', '16:t', '25:x', '23:7', '701:2.5'],
        [null, null, null, null, null],
      ])
    }
  })

  it('work where code may not be generated', () => {
    const program = `
      const { Shape } = require(${DECODE})
      const field = ${field}
      const out = []
      const decoder = new Shape([field('a', 23), field('b', 25)]).decoder(false, undefined)
      for (let use = 0; use < 3; use++) decoder.decode(Int32Array.from([1, 1]), 0, 1, true, 'x', out)
      console.log(JSON.stringify(out))`
    const printed = execFileSync(process.execPath, ['--disallow-code-generation-from-strings', '-e', program])
    assert.equal(printed.toString().trim(), '[{"a":1,"b":"x"},{"a":1,"b":"x"},{"a":1,"b":"x"}]')
  })

  it('do not load pg-types for common columns', () => {
    const program = `
      const { Shape } = require(${DECODE})
      const field = ${field}
      const oids = [16, 17, 20, 21, 23, 25, 26, 114, 700, 701, 1043, 1082, 1114, 1184, 1700, 2950, 3802]
      new Shape(oids.map((oid) => field('c' + oid, oid))).decoder(false, undefined)
      const loaded = () => Object.keys(require.cache).some((file) => file.includes('pg-types'))
      const before = loaded()
      new Shape([field('a', 1007)]).decoder(false, undefined)
      console.log(before, loaded())`
    assert.equal(execFileSync(process.execPath, ['-e', program]).toString().trim(), 'false true')
  })
})
