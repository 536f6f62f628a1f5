'use strict'

/**
 * POST /rpc?fn=NAME: calls one of the whitelisted SQL functions with the body's fields as arguments.
 *
 * One row is answered as an object, several as an array, a scalar function as `{name: value}`. P0001, which the SQL
 * functions raise on purpose, is an answer (200), a broken CHECK names its constraint, anything else is 500.
 */

const { getPool, withAdmission } = require('./shared/db-pool')
const { HttpError, clientIp, http, jsonBody, query } = require('./shared/http')

const BODY_LIMIT = 512 * 1024
const PING_ATTEMPTS = 3

/** name → arguments with their casts; `positional` functions are called without argument names. */
const FUNCTIONS = {
  get_client_profile: { args: { p_client_id: 'uuid' } },
  list_client_days: { args: { p_client_id: 'uuid', p_from: 'date', p_to: 'date' }, list: true },
  create_pending_client: { args: { p_name: 'text', p_phone: 'text', p_pin: 'text' } },
  verify_client_pin: { args: { p_phone: 'text', p_pin: 'text' } },
  set_subscription_status: { args: { p_client_id: 'uuid', p_status: 'text' } },
  save_client_kv: { args: { p_client_id: 'uuid', p_key: 'text', p_value: 'jsonb' } },
  add_note: { args: { p_client_id: 'uuid', p_text: 'text' }, encrypted: true },
  list_notes: { args: { p_client_id: 'uuid' }, list: true, encrypted: true },
  search_products: { args: { p_query: '', p_limit: 'int', p_exclude: 'uuid[]' }, positional: true, list: true },
  spend_credits: { args: { p_client_id: 'uuid', p_amount: 'int', p_reason: 'text' }, audited: true },
}

function call(name, definition, body) {
  const names = Object.keys(definition.args)
  const list = names.map((arg, i) => {
    const cast = definition.args[arg]
    const value = cast ? `$${i + 1}::${cast}` : `$${i + 1}`
    return definition.positional ? value : `${arg} => ${value}`
  })
  const values = names.map((arg) => {
    const value = body[arg]
    return definition.args[arg] === 'jsonb' && value !== undefined ? JSON.stringify(value) : value
  })
  return { text: `SELECT * FROM ${name}(${list.join(', ')})`, values }
}

/** A client whose connection has just answered. */
async function connectHealthy(pool) {
  for (let attempt = 1; ; attempt++) {
    const client = await pool.connect()
    try {
      await client.query('SELECT 1')
      return client
    } catch (error) {
      client.release(true)
      if (attempt === PING_ATTEMPTS) throw error
      console.warn(`[RPC] connection did not answer (${error.message}), attempt ${attempt}`)
    }
  }
}

function audit(pool, action, body, event, detail) {
  return pool.query('INSERT INTO audit_log (action, client_id, ip, detail) VALUES ($1, $2, $3, $4)', [
    action,
    body.p_client_id,
    clientIp(event),
    JSON.stringify(detail),
  ])
}

/** The audit row is written on a second connection, so that it survives this one's ROLLBACK. */
async function callAudited(pool, client, name, { text, values }, body, event) {
  await client.query('BEGIN')
  try {
    const locked = await client.query('SELECT credits FROM clients WHERE id = $1 FOR UPDATE', [body.p_client_id])
    if (locked.rowCount === 0) throw new HttpError(404, 'CLIENT_NOT_FOUND')
    await audit(pool, name, body, event, { before: locked.rows[0].credits, amount: body.p_amount })
    const result = await client.query(text, values)
    await client.query('COMMIT')
    return result
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {})
    throw error
  }
}

function shape(name, definition, { rows, fields }) {
  if (definition.list) return rows
  const scalar = fields.length === 1 && fields[0].name === name
  if (rows.length === 1) return scalar ? { [name]: rows[0][name] } : rows[0]
  return rows.length === 0 ? null : rows
}

function failure(error) {
  if (error.code === 'P0001') return { statusCode: 200, body: { error: error.message, hint: error.hint } }
  if (error.code === '23514') {
    return { statusCode: 400, body: { error: 'CHECK_VIOLATION', constraint: error.constraint } }
  }
  if (error instanceof HttpError) throw error
  console.error(`[RPC] ERROR ${error.code || ''} ${error.message}`)
  return { statusCode: 500, body: { error: 'INTERNAL', code: error.code } }
}

async function handle(event) {
  const name = query(event).fn
  const definition = Object.hasOwn(FUNCTIONS, String(name)) && FUNCTIONS[name]
  if (!definition) throw new HttpError(404, 'UNKNOWN_FUNCTION')
  const body = jsonBody(event, BODY_LIMIT)
  const unknown = Object.keys(body).filter((key) => !Object.hasOwn(definition.args, key))
  if (unknown.length > 0) throw new HttpError(400, 'UNKNOWN_ARGUMENT', unknown.join(', '))

  const pool = getPool()
  const client = await connectHealthy(pool)
  try {
    if (definition.encrypted) {
      const key = process.env.HEYS_ENCRYPTION_KEY
      if (!key) throw new HttpError(500, 'NO_ENCRYPTION_KEY')
      await client.query(`SET heys.encryption_key = '${key.replace(/'/g, "''")}'`)
    }
    const statement = call(name, definition, body)
    const result = definition.audited
      ? await callAudited(pool, client, name, statement, body, event)
      : await client.query(statement.text, statement.values)
    if (name === 'create_pending_client') {
      // The answer does not wait for this row.
      audit(pool, name, body, event, { phone: String(body.p_phone).slice(-4) }).catch((error) =>
        console.error(`[RPC] ERROR audit: ${error.message}`),
      )
    }
    return { statusCode: 200, body: shape(name, definition, result) }
  } catch (error) {
    return failure(error)
  } finally {
    client.release()
  }
}

// Up to two clients a call, POOL_MAX_SIZE 5: (5 - 1) / (2 - 1) calls cannot starve each other.
exports.handler = withAdmission(http('RPC', ['POST'], handle), { limit: 4 })
