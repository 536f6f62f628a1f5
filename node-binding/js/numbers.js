'use strict'

/**
 * Cells of two words (native.d.ts, CellKind): a float8, or the milliseconds of a timestamptz. decode.js makes the common
 * ones in place; here is the rest, and the text that PostgreSQL would have sent, for a parser that was set while its
 * query was under way.
 */

const INT_MIN = -2147483648
const INT_MAX = 2147483647
const UINT32 = 4294967296
/** The Gregorian calendar repeats itself. */
const YEARS = 400
const CYCLE_MILLIS = 146097 * 86400000

/** One double and its words, low first: every platform that the addon is built for has them so. */
const WORDS = new Int32Array(2)
const DOUBLE = new Float64Array(WORDS.buffer)

/** Between these high words a timestamptz lies in the years from 200 to 9800, where pg-types's parser has no quirks. */
const ORDINARY = Object.freeze({ above: -13000, below: 57000 })

const millisOf = (low, high) => high * UINT32 + (low >>> 0)

/** The digits of float8out: fixed notation for exponents from -4 to 14. */
function floatText(number) {
  if (!Number.isFinite(number)) return String(number)
  if (Object.is(number, -0)) return '-0'
  const [mantissa, exponent] = number.toExponential().split('e')
  const power = Number(exponent)
  if (power < -4 || power > 14) {
    return `${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
  }
  const digits = mantissa.replace(/[-.]/g, '')
  const sign = number < 0 ? '-' : ''
  if (power < 0) return `${sign}0.${'0'.repeat(-power - 1)}${digits}`
  const whole = digits.slice(0, power + 1).padEnd(power + 1, '0')
  return sign + whole + (digits.length > power + 1 ? `.${digits.slice(power + 1)}` : '')
}

/** An instant in ISO style, in UTC. */
function instantText(low, high) {
  if (high === INT_MAX) return 'infinity'
  if (high === -INT_MAX) return '-infinity'
  const millis = millisOf(low, high)
  // Date ends before PostgreSQL's years do, and writes those before 1 otherwise.
  const cycles = Math.floor(millis / CYCLE_MILLIS)
  const iso = new Date(millis - cycles * CYCLE_MILLIS).toISOString()
  const year = Number(iso.slice(0, 4)) + cycles * YEARS
  const fraction = iso.slice(19, 23).replace(/\.?0+$/, '')
  const rest = `${iso.slice(4, 10)} ${iso.slice(11, 19)}${fraction}+00`
  return year > 0 ? String(year).padStart(4, '0') + rest : `${String(1 - year).padStart(4, '0')}${rest} BC`
}

function float(low, high) {
  if (low === -1 && high === -1) return null
  WORDS[0] = low
  WORDS[1] = high
  return DOUBLE[0]
}

/** (low, high) → value; `parse` takes the text, or is null for the text itself. */
function floatFromText(parse) {
  return (low, high) => {
    const number = float(low, high)
    if (number === null) return null
    return parse === null ? floatText(number) : parse(floatText(number))
  }
}

function instantFromText(parse) {
  return (low, high) => {
    if (high === INT_MIN) return null
    return parse === null ? instantText(low, high) : parse(instantText(low, high))
  }
}

/** `parse`: pg-types's, for years and words that are not ordinary. */
function instant(parse) {
  const odd = instantFromText(parse)
  return (low, high) => {
    if (high > ORDINARY.above && high < ORDINARY.below) return new Date(millisOf(low, high))
    return odd(low, high)
  }
}

module.exports = { WORDS, DOUBLE, ORDINARY, float, instant, floatFromText, instantFromText }
