'use strict'

/**
 * POST /payments/create, /payments/webhook, /payments/refund, GET /payments/status, /payments/health.
 *
 * The provider is reached at PAYMENT_API_BASE; its webhooks carry an HMAC-SHA-256 of the body. It sends each event
 * at least once: payment_events keeps the first and lets the others pass without effect.
 */

const crypto = require('crypto')
const { getPool, withAdmission } = require('./shared/db-pool')
const { HttpError, header, http, jsonBody, need, query, rawBody, route } = require('./shared/http')

const BODY_LIMIT = 128 * 1024
const PLANS = { month: { amount: '990.00', days: 30 }, year: { amount: '7900.00', days: 365 } }

async function provider(path, body) {
  const base = process.env.PAYMENT_API_BASE
  if (!base) throw new HttpError(503, 'PROVIDER_NOT_CONFIGURED')
  let answer
  try {
    answer = await fetch(base + path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Idempotence-Key': body.key },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(8000),
    })
  } catch (error) {
    throw new HttpError(502, 'PROVIDER_UNREACHABLE', error.message)
  }
  if (!answer.ok) throw new HttpError(502, 'PROVIDER_REFUSED', `The provider answered ${answer.status}`)
  return answer.json()
}

async function create(event) {
  const { clientId, plan } = jsonBody(event, BODY_LIMIT)
  need({ clientId, plan }, 'clientId', 'plan')
  if (!Object.hasOwn(PLANS, plan)) throw new HttpError(400, 'UNKNOWN_PLAN')
  const client = await getPool().connect()
  try {
    const inserted = await client.query(
      'INSERT INTO payments (client_id, plan, amount, meta) VALUES ($1, $2, $3, $4) RETURNING id, amount, created_at',
      [clientId, plan, PLANS[plan].amount, { source: 'web' }],
    )
    const payment = inserted.rows[0]
    const made = await provider('/payments', { key: payment.id, amount: payment.amount, description: plan })
    await client.query('UPDATE payments SET provider_id = $2, meta = meta || $3 WHERE id = $1', [
      payment.id,
      made.id,
      { confirmation: made.confirmationUrl },
    ])
    return { statusCode: 201, body: { id: payment.id, amount: payment.amount, confirmationUrl: made.confirmationUrl } }
  } catch (error) {
    if (error.code === '23503') throw new HttpError(404, 'CLIENT_NOT_FOUND')
    if (error.code === '22P02') throw new HttpError(400, 'INVALID_CLIENT_ID')
    throw error
  } finally {
    client.release()
  }
}

function checkSignature(event, text) {
  const secret = process.env.PAYMENT_WEBHOOK_SECRET
  if (!secret) throw new HttpError(503, 'WEBHOOK_NOT_CONFIGURED')
  const wanted = crypto.createHmac('sha256', secret).update(text).digest()
  const given = Buffer.from(header(event, 'X-Signature') || '', 'hex')
  if (given.length !== wanted.length || !crypto.timingSafeEqual(given, wanted)) {
    throw new HttpError(401, 'WRONG_SIGNATURE')
  }
}

async function succeed(client, providerId) {
  const { rows } = await client.query(
    'SELECT id, client_id, plan, status FROM payments WHERE provider_id = $1 FOR UPDATE',
    [providerId],
  )
  if (rows.length === 0) throw new HttpError(404, 'PAYMENT_NOT_FOUND')
  const payment = rows[0]
  if (payment.status !== 'pending') return
  const paid = await client.query(
    `UPDATE payments SET status = 'succeeded', paid_at = now(), meta = meta || $2 WHERE id = $1 RETURNING paid_at`,
    [payment.id, { settled: true }],
  )
  // The Date that RETURNING gave goes back as it is.
  await client.query(
    `INSERT INTO subscriptions (client_id, plan, started_at, paid_until)
     VALUES ($1, $2, $3, now() + ($4 || ' days')::interval)
     ON CONFLICT (client_id) DO UPDATE SET plan = excluded.plan,
       paid_until = greatest(subscriptions.paid_until, now()) + ($4 || ' days')::interval`,
    [payment.client_id, payment.plan, paid.rows[0].paid_at, PLANS[payment.plan].days],
  )
  await client.query(`UPDATE clients SET subscription_status = 'active' WHERE id = $1`, [payment.client_id])
}

async function webhook(event) {
  const text = rawBody(event, BODY_LIMIT)
  checkSignature(event, text)
  const body = jsonBody(event, BODY_LIMIT)
  need(body, 'event', 'id')
  const client = await getPool().connect()
  try {
    await client.query('BEGIN')
    const first = await client.query(
      `INSERT INTO payment_events (provider_id, event, body) VALUES ($1, $2, $3)
       ON CONFLICT ON CONSTRAINT payment_events_once DO NOTHING RETURNING id`,
      [body.id, body.event, body],
    )
    if (first.rowCount > 0) {
      if (body.event === 'payment.succeeded') await succeed(client, body.id)
      else if (body.event === 'payment.canceled') {
        await client.query(`UPDATE payments SET status = 'canceled' WHERE provider_id = $1 AND status = 'pending'`, [
          body.id,
        ])
      }
    }
    await client.query('COMMIT')
    return { statusCode: 200, body: { accepted: true, duplicate: first.rowCount === 0 } }
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {})
    throw error
  } finally {
    client.release()
  }
}

async function refund(event) {
  const { id, amount } = jsonBody(event, BODY_LIMIT)
  need({ id, amount }, 'id', 'amount')
  const client = await getPool().connect()
  try {
    await client.query('BEGIN')
    const { rows } = await client.query('SELECT provider_id, status FROM payments WHERE id = $1 FOR UPDATE', [id])
    if (rows.length === 0) throw new HttpError(404, 'PAYMENT_NOT_FOUND')
    if (rows[0].status !== 'succeeded') throw new HttpError(409, 'NOT_PAID', `The payment is ${rows[0].status}`)
    const updated = await client.query(
      `UPDATE payments SET refunded = refunded + $2,
         status = CASE WHEN refunded + $2 = amount THEN 'refunded' ELSE status END
       WHERE id = $1 RETURNING amount, refunded, status`,
      [id, amount],
    )
    const done = updated.rows[0]
    await provider('/refunds', { key: `${id}-${done.refunded}`, payment: rows[0].provider_id, amount })
    await client.query('COMMIT')
    return { statusCode: 200, body: done }
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {})
    if (error.constraint === 'payments_refund_within') throw new HttpError(400, 'REFUND_TOO_LARGE')
    if (error.code === '22P02') throw new HttpError(400, 'INVALID_VALUE')
    throw error
  } finally {
    client.release()
  }
}

async function status(event) {
  const { id } = query(event)
  need({ id }, 'id')
  const client = await getPool().connect()
  try {
    const { rows } = await client.query(
      `SELECT p.id, p.plan, p.amount, p.refunded, p.status, p.paid_at, s.paid_until
       FROM payments p LEFT JOIN subscriptions s USING (client_id) WHERE p.id = $1`,
      [id],
    )
    if (rows.length === 0) throw new HttpError(404, 'PAYMENT_NOT_FOUND')
    return { statusCode: 200, body: rows[0] }
  } catch (error) {
    if (error.code === '22P02') throw new HttpError(400, 'INVALID_PAYMENT_ID')
    throw error
  } finally {
    client.release()
  }
}

async function health() {
  const start = Date.now()
  const client = await getPool().connect()
  try {
    const { rows } = await client.query('SELECT now() AS now')
    return { statusCode: 200, body: { healthy: true, serverTime: rows[0].now, millis: Date.now() - start } }
  } finally {
    client.release()
  }
}

const ROUTES = { POST: { create, webhook, refund }, GET: { status, health } }

async function handle(event) {
  const name = route(event).split('/').pop()
  const routes = ROUTES[event.httpMethod]
  if (!Object.hasOwn(routes, name)) throw new HttpError(404, 'UNKNOWN_ROUTE')
  return routes[name](event)
}

exports.handler = withAdmission(http('Payments', ['GET', 'POST'], handle), { limit: 3 })
