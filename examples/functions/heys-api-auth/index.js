'use strict'

/**
 * Curators' accounts: POST /auth/login, /auth/register, /auth/verify, /auth/mfa, /auth/logout, GET /auth/clients.
 *
 * Session tokens are random; the database keeps only their SHA-256. login's rate limiter takes a second client while
 * the first is held, so that failed attempts stay counted whatever becomes of the login.
 */

const crypto = require('crypto')
const { getPool, withAdmission } = require('./shared/db-pool')
const { HttpError, clientIp, header, http, jsonBody, need, pathParameter, query, route } = require('./shared/http')

const BODY_LIMIT = 64 * 1024
const SESSION_HOURS = 12
const ATTEMPTS = 5
const ATTEMPTS_MINUTES = 15

function sessionToken(event) {
  const token = header(event, 'X-Session-Token') || (header(event, 'Authorization') || '').replace(/^Bearer /i, '')
  if (!token) throw new HttpError(401, 'NO_SESSION')
  return token
}

/** Counts this attempt, on a client of the pool's own choice; throws 429 when there were too many before it. */
async function limitRate(email, ip) {
  const { rows } = await getPool().query(
    `WITH attempt AS (INSERT INTO login_attempts (email, ip) VALUES ($1, $2))
     SELECT count(*)::int AS before FROM login_attempts
     WHERE email = $1 AND attempted_at > now() - ($3 || ' minutes')::interval`,
    [email, ip, ATTEMPTS_MINUTES],
  )
  if (rows[0].before >= ATTEMPTS) throw new HttpError(429, 'TOO_MANY_ATTEMPTS')
}

async function openSession(client, curatorId, ip, mfaPassed) {
  const token = crypto.randomBytes(32).toString('hex')
  const { rows } = await client.query(
    `INSERT INTO sessions (token_hash, curator_id, mfa_passed, ip, expires_at)
     VALUES (digest($1, 'sha256'), $2, $3, $4, now() + ($5 || ' hours')::interval) RETURNING expires_at`,
    [token, curatorId, mfaPassed, ip, SESSION_HOURS],
  )
  return { token, expiresAt: rows[0].expires_at }
}

async function login(event) {
  const { email, password } = jsonBody(event, BODY_LIMIT)
  need({ email, password }, 'email', 'password')
  const ip = clientIp(event)
  const client = await getPool().connect()
  try {
    const { rows } = await client.query(
      `SELECT id, name, verified, mfa_secret IS NOT NULL AS mfa, password_hash = crypt($2, password_hash) AS matches
       FROM curators WHERE email = $1`,
      [email, password],
    )
    await limitRate(email, ip)
    if (rows.length === 0 || !rows[0].matches) throw new HttpError(401, 'WRONG_CREDENTIALS')
    const curator = rows[0]
    if (!curator.verified) throw new HttpError(403, 'NOT_VERIFIED')
    const session = await openSession(client, curator.id, ip, !curator.mfa)
    await client.query('DELETE FROM login_attempts WHERE email = $1', [email])
    return { statusCode: 200, body: { ...session, name: curator.name, mfaRequired: curator.mfa } }
  } finally {
    client.release()
  }
}

async function register(event) {
  const { email, password, name } = jsonBody(event, BODY_LIMIT)
  need({ email, password }, 'email', 'password')
  if (password.length < 8) throw new HttpError(400, 'PASSWORD_TOO_SHORT')
  const verifyToken = crypto.randomBytes(16).toString('hex')
  const client = await getPool().connect()
  try {
    const { rows } = await client.query(
      `INSERT INTO curators (email, password_hash, name, verify_token)
       VALUES ($1, crypt($2, gen_salt('bf')), $3, digest($4, 'sha256')) RETURNING id, created_at`,
      [email, password, name, verifyToken],
    )
    // A mailer would send the token; until there is one, the caller gets it.
    return { statusCode: 201, body: { id: rows[0].id, createdAt: rows[0].created_at, verifyToken } }
  } catch (error) {
    if (error.code === '23505' && error.constraint === 'curators_email_key') {
      throw new HttpError(409, 'EMAIL_TAKEN', 'This address has an account')
    }
    if (error.code === '23514') throw new HttpError(400, 'INVALID_EMAIL')
    throw error
  } finally {
    client.release()
  }
}

async function verify(event) {
  const { token } = jsonBody(event, BODY_LIMIT)
  need({ token }, 'token')
  const client = await getPool().connect()
  try {
    const { rowCount } = await client.query(
      `UPDATE curators SET verified = true, verify_token = NULL WHERE verify_token = digest($1, 'sha256')`,
      [token],
    )
    if (rowCount === 0) throw new HttpError(400, 'UNKNOWN_TOKEN')
    return { statusCode: 200, body: { verified: true } }
  } finally {
    client.release()
  }
}

/** RFC 6238: six digits, HMAC-SHA-1, steps of 30 seconds. */
function totp(secret, atMillis) {
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(atMillis / 30_000)))
  const mac = crypto.createHmac('sha1', secret).update(counter).digest()
  const number = mac.readUInt32BE(mac[19] & 15) & 0x7fffffff
  return String(number % 1_000_000).padStart(6, '0')
}

async function mfa(event) {
  const { code } = jsonBody(event, BODY_LIMIT)
  need({ code }, 'code')
  const token = sessionToken(event)
  const client = await getPool().connect()
  try {
    const { rows } = await client.query(
      `SELECT c.mfa_secret FROM sessions s JOIN curators c ON c.id = s.curator_id
       WHERE s.token_hash = digest($1, 'sha256') AND s.expires_at > now()`,
      [token],
    )
    if (rows.length === 0) throw new HttpError(401, 'NO_SESSION')
    const secret = rows[0].mfa_secret
    // The step before counts too: clocks differ, and people type slowly.
    const now = Date.now()
    if (secret === null || ![now, now - 30_000].some((at) => totp(secret, at) === String(code))) {
      throw new HttpError(401, 'WRONG_CODE')
    }
    await client.query(`UPDATE sessions SET mfa_passed = true WHERE token_hash = digest($1, 'sha256')`, [token])
    return { statusCode: 200, body: { mfaPassed: true } }
  } finally {
    client.release()
  }
}

async function logout(event) {
  const token = sessionToken(event)
  const client = await getPool().connect()
  try {
    await client.query(`DELETE FROM sessions WHERE token_hash = digest($1, 'sha256')`, [token])
    return { statusCode: 200, body: { loggedOut: true } }
  } finally {
    client.release()
  }
}

/** All the curator's clients, or the one that the path or the query names. */
async function clients(event) {
  const token = sessionToken(event)
  const wanted = pathParameter(event, 'clientId') || query(event).clientId
  const client = await getPool().connect()
  try {
    const session = await client.query(
      `SELECT curator_id FROM sessions WHERE token_hash = digest($1, 'sha256') AND mfa_passed AND expires_at > now()`,
      [token],
    )
    if (session.rowCount === 0) throw new HttpError(401, 'NO_SESSION')
    const { rows } = await client.query(
      `SELECT id, name, phone, weight, birth_date, tags, subscription_status, created_at FROM clients
       WHERE curator_id = $1 AND ($2::uuid IS NULL OR id = $2) ORDER BY name`,
      [session.rows[0].curator_id, wanted],
    )
    return { statusCode: 200, body: rows }
  } catch (error) {
    if (error.code === '22P02') throw new HttpError(400, 'INVALID_CLIENT_ID')
    throw error
  } finally {
    client.release()
  }
}

const ROUTES = { login, register, verify, mfa, logout }

async function handle(event) {
  const parts = route(event).split('/')
  const name = parts[parts.indexOf('auth') + 1]
  if (name === 'clients' && event.httpMethod === 'GET') return clients(event)
  if (Object.hasOwn(ROUTES, name) && event.httpMethod === 'POST') return ROUTES[name](event)
  throw new HttpError(404, 'UNKNOWN_ROUTE')
}

// Up to two clients a call (login), POOL_MAX_SIZE 3: (3 - 1) / (2 - 1) calls cannot starve each other.
exports.handler = withAdmission(http('Auth', ['GET', 'POST'], handle), { limit: 2 })
