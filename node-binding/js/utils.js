'use strict'

const { prepareValue } = require('./values')

/** An SQL identifier in double quotes. */
function escapeIdentifier(name) {
  return '"' + name.replace(/"/g, '""') + '"'
}

/** An SQL string literal. With a backslash in it, an escape string (` E'…'`), right under either setting of
 * standard_conforming_strings. What is no string gives an empty literal, as in node-postgres. */
function escapeLiteral(value) {
  if (typeof value !== 'string') return "''"
  const body = "'" + value.replace(/['\\]/g, '$&$&') + "'"
  return value.includes('\\') ? ' E' + body : body
}

/** The three ways to call query() as one config object; the caller's object stays as it is. */
function normalizeQueryConfig(config, values, callback) {
  let own
  if (typeof config === 'string') own = { text: config }
  else if (config === null || config === undefined) own = config
  else own = Object.create(Object.getPrototypeOf(config), Object.getOwnPropertyDescriptors(config))
  if (typeof values === 'function') own.callback = values
  else if (values) own.values = values
  if (callback) own.callback = callback
  return own
}

module.exports = { prepareValue, normalizeQueryConfig, escapeIdentifier, escapeLiteral }
