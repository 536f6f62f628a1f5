'use strict'

/** What every HTTP function shares: origins, bodies, answers. Nothing here touches the database. */

/** An answer to the caller that is thrown where it is found out. */
class HttpError extends Error {
  constructor(statusCode, code, message) {
    super(message || code)
    this.statusCode = statusCode
    this.code = code
  }
}

/** Header names arrive in either case. */
function header(event, name) {
  const headers = event.headers || {}
  if (headers[name] !== undefined) return headers[name]
  const wanted = name.toLowerCase()
  const key = Object.keys(headers).find((k) => k.toLowerCase() === wanted)
  return key === undefined ? undefined : headers[key]
}

function clientIp(event) {
  const identity = event.requestContext && event.requestContext.identity
  const forwarded = header(event, 'X-Forwarded-For')
  return (identity && identity.sourceIp) || (forwarded && forwarded.split(',')[0].trim()) || undefined
}

function allowedOrigins() {
  return (process.env.ALLOWED_ORIGINS || 'https://app.heys.example').split(',').map((origin) => origin.trim())
}

/** The path without its query; `path` or `url` may hold the route's own pattern, such as `/clients/{clientId}`. */
function route(event) {
  const raw = event.path || event.url || '/'
  return raw.split('?')[0].replace(/\/+$/, '') || '/'
}

/** Query parameters of the HTTP event, wherever this trigger put them. */
function query(event) {
  return { ...(event.params || {}), ...(event.queryStringParameters || {}) }
}

function pathParameter(event, name) {
  const found = (event.pathParameters || {})[name] || (event.params || {})[name]
  return found && !/^\{.*\}$/.test(found) ? found : undefined
}

/** The body as sent, for signatures. `limit` is in bytes. */
function rawBody(event, limit) {
  if (event.body === undefined || event.body === null) return ''
  const text =
    typeof event.body === 'object'
      ? JSON.stringify(event.body)
      : event.isBase64Encoded
        ? Buffer.from(event.body, 'base64').toString('utf8')
        : event.body
  if (Buffer.byteLength(text) > limit) throw new HttpError(413, 'BODY_TOO_LARGE', `Body exceeds ${limit} bytes`)
  return text
}

function jsonBody(event, limit) {
  const text = rawBody(event, limit)
  if (text === '') return {}
  try {
    return JSON.parse(text)
  } catch {
    throw new HttpError(400, 'INVALID_JSON', 'The body is not JSON')
  }
}

/** Throws 400 unless every name has a value. */
function need(values, ...names) {
  for (const name of names) {
    if (values[name] === undefined || values[name] === null || values[name] === '') {
      throw new HttpError(400, 'MISSING_FIELD', `${name} is required`)
    }
  }
}

/**
 * Wraps a handler: OPTIONS is answered, unknown origins are refused, HttpErrors become answers. `handle(event,
 * context)` resolves `{statusCode, body, headers?}`, whose body is made JSON here.
 */
function http(name, methods, handle) {
  const allow = [...methods, 'OPTIONS'].join(', ')
  return async (event, context) => {
    const origin = header(event, 'Origin')
    const known = origin === undefined || allowedOrigins().includes(origin)
    const headers = { 'Content-Type': 'application/json; charset=utf-8' }
    if (known && origin !== undefined) {
      Object.assign(headers, { 'Access-Control-Allow-Origin': origin, Vary: 'Origin' })
    }
    const answer = (statusCode, body, more) => ({
      statusCode,
      headers: { ...headers, ...more },
      body: body === undefined ? '' : JSON.stringify(body),
    })
    if (!known) return answer(403, { error: 'ORIGIN_NOT_ALLOWED' })
    if (event.httpMethod === 'OPTIONS') {
      return answer(204, undefined, {
        'Access-Control-Allow-Methods': allow,
        'Access-Control-Allow-Headers': 'Content-Type, Authorization, X-Session-Token',
        'Access-Control-Max-Age': '86400',
      })
    }
    if (!methods.includes(event.httpMethod)) return answer(405, { error: 'METHOD_NOT_ALLOWED' }, { Allow: allow })
    try {
      const result = await handle(event, context)
      return answer(result.statusCode || 200, result.body, result.headers)
    } catch (error) {
      if (error instanceof HttpError) return answer(error.statusCode, { error: error.code, message: error.message })
      console.error(`[${name}] ERROR ${error.code || ''} ${error.message}`)
      return answer(500, { error: 'INTERNAL', code: error.code })
    }
  }
}

module.exports = { HttpError, header, clientIp, route, query, pathParameter, rawBody, jsonBody, need, http }
