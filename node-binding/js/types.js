'use strict'

/**
 * How a column's text becomes a value. pg-types decides; where its own default parser for a common type is in force,
 * a faster one with equal results stands in. pg-types is not loaded while no column needs it and nobody else has.
 */

/** Conversions. The numbers are used by decode.js. */
const AS_TEXT = 0
const AS_INT = 1
const AS_BOOL = 2
const AS_FLOAT = 3
const AS_INSTANT = 4
const AS_LOCAL_TIME = 5
const AS_DATE = 6
const AS_JSON = 7
const AS_BYTES = 8
const AS_PARSER = 9

/** oid → conversion, equal to pg-types's default parser. int8 stays text there, too. */
const FAST = new Map([
  [16, AS_BOOL],
  [17, AS_BYTES],
  [20, AS_TEXT],
  [21, AS_INT],
  [23, AS_INT],
  [26, AS_FLOAT],
  [114, AS_JSON],
  [700, AS_FLOAT],
  [701, AS_FLOAT],
  [1082, AS_DATE],
  [1114, AS_LOCAL_TIME],
  [1184, AS_INSTANT],
  [3802, AS_JSON],
])

/** Types with a default parser in pg-types and no fast path here. Every other type is text. */
const SLOW = new Set([
  199, 600, 651, 718, 791, 1000, 1001, 1005, 1007, 1008, 1009, 1014, 1015, 1016, 1017, 1021, 1022, 1028, 1040, 1041,
  1115, 1182, 1183, 1185, 1186, 1187, 1231, 1270, 2951, 3807, 3907,
])

let loaded
let pristine
let plainText
let cacheKey

/** Whether anybody has loaded pg-types: then its parsers may have been changed. */
function isLoaded() {
  if (loaded !== undefined) return true
  if (cacheKey === undefined) {
    try {
      cacheKey = require.resolve('pg-types')
    } catch {
      cacheKey = null
    }
  }
  // Without a module cache to look into (a bundle), nothing can be known: load it.
  return cacheKey === null || require.cache === undefined || require.cache[cacheKey] !== undefined
}

function pgTypes() {
  if (loaded === undefined) {
    const types = require('pg-types')
    pristine = new Map()
    require('pg-types/lib/textParsers').init((oid, parser) => pristine.set(oid, parser))
    plainText = types.getTypeParser(-1, 'text')
    // Each init binds JSON.parse anew, so those two are recognised by what they are before anyone can change them.
    for (const oid of [114, 3802]) {
      const current = types.getTypeParser(oid, 'text')
      if (current.name === 'bound parse') pristine.set(oid, current)
    }
    loaded = types
  }
  return loaded
}

/** The conversion that `parser` stands for. */
function conversionOf(oid, parser) {
  pgTypes()
  if (parser === plainText) return AS_TEXT
  const fast = FAST.get(oid)
  return fast !== undefined && parser === pristine.get(oid) ? fast : AS_PARSER
}

/** The default conversion without asking pg-types, or -1 when it must be asked. */
function builtinConversion(oid) {
  const fast = FAST.get(oid)
  if (fast !== undefined) return fast
  return SLOW.has(oid) ? -1 : AS_TEXT
}

/** CellKind (native.d.ts) in which a column travels. */
function kindOf(oid, format) {
  if (format === 'binary') return 3
  if (oid === 23 || oid === 21) return 1
  return oid === 16 ? 2 : 0
}

const slowParser = (oid) => {
  pgTypes()
  return pristine.get(oid)
}

/** Two digits at `i`, or NaN-like garbage that `isDateTime` has excluded. */
const two = (s, i) => (s.charCodeAt(i) - 48) * 10 + s.charCodeAt(i + 1) - 48

/** `YYYY-MM-DD` with a year from 0100 to 9999 begins `s`. */
function startsWithDate(s) {
  return s.charCodeAt(4) === 45 && s.charCodeAt(7) === 45 && (s.charCodeAt(0) !== 48 || s.charCodeAt(1) !== 48)
}

const year = (s) => two(s, 0) * 100 + two(s, 2)

/** Milliseconds of a fraction that begins after the point at 19 and ends before `end`. */
function millis(s, end) {
  let value = 0
  if (end > 20) value += (s.charCodeAt(20) - 48) * 100
  if (end > 21) value += (s.charCodeAt(21) - 48) * 10
  if (end > 22) value += s.charCodeAt(22) - 48
  return value
}

function hasTime(s) {
  return startsWithDate(s) && s.charCodeAt(10) === 32 && s.charCodeAt(13) === 58 && s.charCodeAt(16) === 58
}

/** The index after the seconds and their fraction. */
function endOfSeconds(s) {
  let i = 19
  if (s.charCodeAt(i) === 46) {
    i++
    while (i < s.length && s.charCodeAt(i) >= 48 && s.charCodeAt(i) <= 57) i++
  }
  return i
}

/** timestamptz in ISO style, `2024-01-02 03:04:05.678901+05:30`; anything else is pg-types's. */
function instant(s) {
  if (!hasTime(s)) return slowParser(1184)(s)
  const end = endOfSeconds(s)
  const sign = s.charCodeAt(end)
  const rest = s.length - end
  const isZone =
    (sign === 43 || sign === 45) && (rest === 3 || ((rest === 6 || rest === 9) && s.charCodeAt(end + 3) === 58))
  if (!isZone) return slowParser(1184)(s)
  let offset = two(s, end + 1) * 3600
  if (rest > 3) offset += two(s, end + 4) * 60
  if (rest > 6) offset += two(s, end + 7)
  const utc = Date.UTC(year(s), two(s, 5) - 1, two(s, 8), two(s, 11), two(s, 14), two(s, 17), millis(s, end))
  return new Date(sign === 43 ? utc - offset * 1000 : utc + offset * 1000)
}

/** timestamp in ISO style, read as local time. */
function localTime(s) {
  if (!hasTime(s) || endOfSeconds(s) !== s.length) return slowParser(1114)(s)
  return new Date(year(s), two(s, 5) - 1, two(s, 8), two(s, 11), two(s, 14), two(s, 17), millis(s, s.length))
}

/** date in ISO style: local midnight. */
function localDate(s) {
  if (s.length !== 10 || !startsWithDate(s)) return slowParser(1082)(s)
  return new Date(year(s), two(s, 5) - 1, two(s, 8))
}

/** bytea in hex output. */
function bytes(s) {
  if (s.charCodeAt(0) !== 92 || s.charCodeAt(1) !== 120) return slowParser(17)(s)
  return Buffer.from(s.slice(2), 'hex')
}

/** Text → value by conversion number; AS_TEXT and AS_PARSER have none. */
const CONVERT = []
CONVERT[AS_INT] = Number
CONVERT[AS_BOOL] = (s) => s === 't'
CONVERT[AS_FLOAT] = Number
CONVERT[AS_INSTANT] = instant
CONVERT[AS_LOCAL_TIME] = localTime
CONVERT[AS_DATE] = localDate
CONVERT[AS_JSON] = (s) => JSON.parse(s)
CONVERT[AS_BYTES] = bytes

module.exports = {
  AS_TEXT,
  AS_INT,
  AS_BOOL,
  AS_PARSER,
  CONVERT,
  FAST,
  SLOW,
  isLoaded,
  pgTypes,
  conversionOf,
  builtinConversion,
  kindOf,
}
