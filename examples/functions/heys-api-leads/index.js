'use strict'

/**
 * POST /leads: stores a lead from the landing page and tells the sales team.
 *
 * One client is held while the notification is sent. The same phone number again is not an error of the caller's:
 * the INSERT fails in autocommit and the same client raises the known lead's counter.
 */

const { getPool, withAdmission } = require('./shared/db-pool')
const { HttpError, clientIp, http, jsonBody, need } = require('./shared/http')

const BODY_LIMIT = 64 * 1024
const REPEAT_MINUTES = 15

/** Whether the message went out; a silent messenger never loses a lead. */
async function notify(lead) {
  const url = process.env.LEADS_NOTIFY_URL
  if (!url) return false
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ text: `New lead ${lead.id}` }),
      signal: AbortSignal.timeout(5000),
    })
    return answer.ok
  } catch (error) {
    console.error(`[Leads] ERROR notification: ${error.message}`)
    return false
  }
}

async function handle(event) {
  const body = jsonBody(event, BODY_LIMIT)
  need(body, 'name', 'phone')
  const phone = String(body.phone).replace(/[\s()-]/g, '')
  if (!/^\+?\d{10,15}$/.test(phone)) throw new HttpError(400, 'INVALID_PHONE')
  const ip = clientIp(event)

  const client = await getPool().connect()
  let broken
  try {
    const recent = await client.query(
      `SELECT count(*)::int AS n FROM leads WHERE ip = $1 AND created_at > now() - ($2 || ' minutes')::interval`,
      [ip, REPEAT_MINUTES],
    )
    if (recent.rows[0].n >= 20) throw new HttpError(429, 'TOO_MANY_LEADS')

    let lead
    let duplicate = false
    try {
      const inserted = await client.query(
        'INSERT INTO leads (name, phone, messenger, utm, ip) VALUES ($1, $2, $3, $4, $5) RETURNING id, created_at',
        [body.name, phone, body.messenger, body.utm, ip],
      )
      lead = inserted.rows[0]
    } catch (error) {
      if (error.code !== '23505') throw error
      duplicate = true
      const known = await client.query(
        'UPDATE leads SET repeats = repeats + 1 WHERE phone = $1 RETURNING id, created_at',
        [phone],
      )
      lead = known.rows[0]
    }

    let notified = false
    if (!duplicate && (await notify(lead))) {
      const { rowCount } = await client.query('UPDATE leads SET notified_at = now() WHERE id = $1', [lead.id])
      notified = rowCount === 1
    }
    return { statusCode: duplicate ? 200 : 201, body: { id: lead.id, createdAt: lead.created_at, duplicate, notified } }
  } catch (error) {
    // 08xxx and 57Pxx: the server has gone; this client is of no more use.
    broken = /^(08|57P)/.test(error.code || '') || undefined
    throw error
  } finally {
    try {
      client.release(broken)
    } catch {
      // It has been released already.
    }
  }
}

exports.handler = withAdmission(http('Leads', ['POST'], handle), { limit: 3 })
