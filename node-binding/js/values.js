'use strict'

const { isDate } = require('util/types')
const defaults = require('./defaults')

/** JavaScript values as PostgreSQL parameters: text, bytes (binary format) or null. */

const pad = (number, width) => String(number).padStart(width, '0')

/** ISO 8601 in which PostgreSQL reads years before 1 as `BC`; JavaScript's year 0 is 1 BC. */
function formatDate(year, month, day, hours, minutes, seconds, millis, zone) {
  const before = year < 1
  const shown = before ? 1 - year : year
  const date = pad(shown, 4) + '-' + pad(month + 1, 2) + '-' + pad(day, 2)
  const time = pad(hours, 2) + ':' + pad(minutes, 2) + ':' + pad(seconds, 2) + '.' + pad(millis, 3)
  return date + 'T' + time + zone + (before ? ' BC' : '')
}

function localDate(d) {
  const east = -d.getTimezoneOffset()
  const minutes = Math.abs(east)
  const zone = (east < 0 ? '-' : '+') + pad(Math.floor(minutes / 60), 2) + ':' + pad(minutes % 60, 2)
  return formatDate(
    d.getFullYear(),
    d.getMonth(),
    d.getDate(),
    d.getHours(),
    d.getMinutes(),
    d.getSeconds(),
    d.getMilliseconds(),
    zone,
  )
}

function utcDate(d) {
  return formatDate(
    d.getUTCFullYear(),
    d.getUTCMonth(),
    d.getUTCDate(),
    d.getUTCHours(),
    d.getUTCMinutes(),
    d.getUTCSeconds(),
    d.getUTCMilliseconds(),
    '+00:00',
  )
}

let warnedOfInvalidDate = false

function dateText(d) {
  if (Number.isNaN(d.getTime()) && !warnedOfInvalidDate) {
    warnedOfInvalidDate = true
    process.emitWarning(
      'An invalid Date was sent to PostgreSQL, which refuses it.',
      'DeprecationWarning',
      'PG_INVALID_DATE',
    )
  }
  return defaults.parseInputDatesAsUTC ? utcDate(d) : localDate(d)
}

/** The bytes a view shows, without copying them. */
function bytesOf(view) {
  return Buffer.isBuffer(view) ? view : Buffer.from(view.buffer, view.byteOffset, view.byteLength)
}

const quote = (elementRepresentation) => '"' + elementRepresentation.replace(/[\\"]/g, '\\$&') + '"'

/** An array literal (arrays-input). The delimiter is a comma, so `box[]` cannot be written this way. */
function arrayLiteral(items) {
  const parts = new Array(items.length)
  for (let i = 0; i < items.length; i++) {
    const item = items[i]
    if (item === null || item === undefined) parts[i] = 'NULL'
    else if (Array.isArray(item)) parts[i] = arrayLiteral(item)
    else if (ArrayBuffer.isView(item)) parts[i] = '\\\\x' + bytesOf(item).toString('hex')
    else {
      // A value whose JSON or toPostgres is nothing has no text to quote: the caller's TypeError, as in node-postgres.
      parts[i] = quote(prepare(item))
    }
  }
  return '{' + parts.join(',') + '}'
}

function prepareObject(value, seen) {
  if (typeof value.toPostgres !== 'function') return JSON.stringify(value)
  const path = seen || []
  if (path.includes(value)) throw new Error(`circular reference detected while preparing "${value}" for query`)
  path.push(value)
  return prepare(value.toPostgres(prepareValue), path)
}

function prepare(value, seen) {
  if (value === null || value === undefined) return null
  if (typeof value !== 'object') return value.toString()
  if (ArrayBuffer.isView(value)) return bytesOf(value)
  if (isDate(value)) return dateText(value)
  if (Array.isArray(value)) return arrayLiteral(value)
  return prepareObject(value, seen)
}

/** One value as it goes out: a string, a Buffer, or null. */
function prepareValue(value) {
  return prepare(value)
}

/** All values of a query, for the addon. */
function prepareValues(values) {
  const out = new Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (typeof value === 'string') out[i] = value
    else {
      const prepared = prepare(value)
      out[i] = prepared === undefined ? null : prepared
    }
  }
  return out
}

module.exports = { prepareValue, prepareValues }
