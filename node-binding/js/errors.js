'use strict'

/**
 * What went wrong, as node-postgres's users know it: DatabaseError for the server's answers, Error with Node's codes
 * (ECONNREFUSED, ENOTFOUND, SELF_SIGNED_CERT_IN_CHAIN, …) for sockets and TLS.
 */

/** Protocol field letters (protocol-error-fields) and the properties they fill, in node-postgres's order. */
const FIELDS = [
  ['S', 'severity'],
  ['C', 'code'],
  ['D', 'detail'],
  ['H', 'hint'],
  ['P', 'position'],
  ['p', 'internalPosition'],
  ['q', 'internalQuery'],
  ['W', 'where'],
  ['s', 'schema'],
  ['t', 'table'],
  ['c', 'column'],
  ['d', 'dataType'],
  ['n', 'constraint'],
  ['F', 'file'],
  ['L', 'line'],
  ['R', 'routine'],
]

/** An ErrorResponse. Every field is an own property, `undefined` when the server left it out; numbers are strings. */
class DatabaseError extends Error {
  constructor(message, length, name) {
    super(message)
    this.length = length
    this.name = name
  }
}

/** A NoticeResponse: the same fields without being an Error. */
class NoticeMessage {
  constructor(message, length) {
    this.length = length
    this.message = message
    this.name = 'notice'
  }
}

/** A NotificationResponse: Int32 length, which counts itself; Int32 process id; String channel; String payload. */
class NotificationResponseMessage {
  constructor({ processId, channel, payload }) {
    this.length = 4 + 4 + Buffer.byteLength(channel) + 1 + Buffer.byteLength(payload) + 1
    this.processId = processId
    this.channel = channel
    this.payload = payload
    this.name = 'notification'
  }
}

function fill(target, fields) {
  const byLetter = new Map(fields)
  for (const [letter, property] of FIELDS) target[property] = byLetter.get(letter)
  return target
}

function textOf(raw) {
  const pair = raw.fields && raw.fields.find(([letter]) => letter === 'M')
  return pair ? pair[1] : raw.message
}

/** The error of a RawError (native.d.ts). */
function fromRaw(raw) {
  if (raw.kind === 'server' && raw.fields) {
    return fill(new DatabaseError(textOf(raw), raw.length, 'error'), raw.fields)
  }
  if (raw.kind === 'connectTimeout') return new Error('timeout expired')
  if (raw.kind === 'closed') return new Error('Connection terminated unexpectedly')
  const error = new Error(raw.message)
  for (const key of ['errno', 'code', 'syscall', 'address', 'port', 'hostname']) {
    if (raw[key] !== undefined && raw[key] !== null) error[key] = raw[key]
  }
  return error
}

/** The notice of a RawError. */
function noticeFromRaw(raw) {
  return fill(new NoticeMessage(textOf(raw), raw.length), raw.fields || [])
}

module.exports = { DatabaseError, NoticeMessage, NotificationResponseMessage, fromRaw, noticeFromRaw }
