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

/** Flags of native.d.ts. */
const TAKE_FLOAT8 = 8
const TAKE_TIMESTAMPTZ = 16

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

/** A result had a column that could have come as a number. */
let sawNumbers = false

/** The flags of types that may come as numbers (native.d.ts): those whose own parser in pg-types is in force. */
function numbersTaken() {
  if (!sawNumbers) return 0
  if (!isLoaded()) return TAKE_FLOAT8 | TAKE_TIMESTAMPTZ
  const types = pgTypes()
  const isDefault = (oid) => types.getTypeParser(oid, 'text') === pristine.get(oid)
  return (isDefault(701) ? TAKE_FLOAT8 : 0) | (isDefault(1184) ? TAKE_TIMESTAMPTZ : 0)
}

/** CellKind (native.d.ts) in which a column travels. */
function kindOf(oid, format) {
  if (oid === 701 || oid === 1184) sawNumbers = true
  if (format === 'binary') return 3
  if (format === 'number') return oid === 701 ? 4 : 5
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

/** Days from 1970-01-01 to a day of the Gregorian calendar; years from 1. Months are counted from March. */
function daysSinceEpoch(year, month, day) {
  const y = month <= 2 ? year - 1 : year
  const m = month <= 2 ? month + 9 : month - 3
  return (
    365 * y +
    Math.floor(y / 4) -
    Math.floor(y / 100) +
    Math.floor(y / 400) +
    Math.floor((153 * m + 2) / 5) +
    day -
    719469
  )
}

/**
 * timestamptz in ISO style, `2024-01-02 03:04:05.678901+05:30`, `length` units from `start` on; anything else is
 * pg-types's.
 */
function instant(text, start, length) {
  const stop = start + length
  const at = (i) => text.charCodeAt(start + i)
  const pair = (i) => (at(i) - 48) * 10 + at(i + 1) - 48
  const isTime = at(4) === 45 && at(7) === 45 && at(10) === 32 && at(13) === 58 && at(16) === 58
  // Years below 100 are another century to JavaScript's Date, and to pg-types.
  if (!isTime || length < 22 || (at(0) === 48 && at(1) === 48)) return slowParser(1184)(text.slice(start, stop))
  let end = 19
  let millis = 0
  if (at(19) === 46) {
    let unit = 100
    for (end = 20; at(end) >= 48 && at(end) <= 57 && end < length; end++) {
      millis += (at(end) - 48) * unit
      unit = unit === 100 ? 10 : unit === 10 ? 1 : 0
    }
  }
  const sign = at(end)
  const rest = length - end
  const isZone = (sign === 43 || sign === 45) && (rest === 3 || ((rest === 6 || rest === 9) && at(end + 3) === 58))
  if (!isZone) return slowParser(1184)(text.slice(start, stop))
  let offset = pair(end + 1) * 3600
  if (rest > 3) offset += pair(end + 4) * 60
  if (rest > 6) offset += pair(end + 7)
  const seconds = pair(11) * 3600 + pair(14) * 60 + pair(17) + (sign === 43 ? -offset : offset)
  return new Date((daysSinceEpoch(pair(0) * 100 + pair(2), pair(5), pair(8)) * 86400 + seconds) * 1000 + millis)
}

const POWERS_OF_TEN = Array.from({ length: 23 }, (_, i) => Number(`1e${i}`))

/**
 * A number's text, `length` units from `start` on. Digits below 2^53 and a power of ten up to 10^22 are exact doubles, and
 * their quotient is the nearest one (Clinger, How to read floating point numbers accurately, 1990); anything else is
 * JavaScript's to read.
 */
function float(text, start, length) {
  const stop = start + length
  let i = text.charCodeAt(start) === 45 ? start + 1 : start
  let digits = 0
  let point = stop
  for (; i < stop; i++) {
    const unit = text.charCodeAt(i)
    if (unit >= 48 && unit <= 57) digits = digits * 10 + unit - 48
    else if (unit === 46 && point === stop) point = i + 1
    else return Number(text.slice(start, stop))
  }
  if (digits > Number.MAX_SAFE_INTEGER || stop - point > 22) return Number(text.slice(start, stop))
  const value = point === stop ? digits : digits / POWERS_OF_TEN[stop - point]
  return text.charCodeAt(start) === 45 ? -value : value
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

/** Text → value by conversion number, for those that need a string of their own; AS_TEXT and AS_PARSER have none. */
const CONVERT = []
CONVERT[AS_INT] = Number
CONVERT[AS_BOOL] = (s) => s === 't'
CONVERT[AS_LOCAL_TIME] = localTime
CONVERT[AS_DATE] = localDate
CONVERT[AS_JSON] = (s) => JSON.parse(s)
CONVERT[AS_BYTES] = bytes

/** The same for those that read the batch's string where the cell lies: (text, start, length) → value. */
const READ = []
READ[AS_FLOAT] = float
READ[AS_INSTANT] = instant

module.exports = {
  READ,
  AS_TEXT,
  AS_INT,
  AS_BOOL,
  AS_FLOAT,
  AS_INSTANT,
  AS_PARSER,
  CONVERT,
  FAST,
  SLOW,
  isLoaded,
  pgTypes,
  conversionOf,
  builtinConversion,
  kindOf,
  numbersTaken,
  slowParser,
}
