'use strict'

/**
 * GET, POST, PATCH and DELETE on /TABLE: filters `column=op.value`, `select`, `order`, `limit`, `offset`; POST of one
 * row or of many, with `on_conflict` for an upsert; /client_kv is written row by row under a lock.
 *
 * Every value goes out as a parameter; table and column names come from the whitelist alone.
 */

const { getPool, withAdmission } = require('./shared/db-pool')
const { HttpError, http, jsonBody, query, route } = require('./shared/http')

const BODY_LIMIT = 512 * 1024
const MAX_ROWS = 500
const DEFAULT_LIMIT = 100

const TABLES = {
  clients: 'id curator_id name phone weight birth_date tags friends profile active subscription_status created_at',
  client_kv: 'client_id key value revision updated_at',
  days: 'id client_id day kcal water_ml meals done updated_at',
  shared_products:
    'id fingerprint name brand barcode kcal100 protein100 fat100 good_fat100 trans_fat100 carbs100 simple100 ' +
    'complex100 fiber100 sugar100 salt100 sodium100 gi harm nova_group portion_g tags extra is_public created_by ' +
    'updated_at',
  leads: 'id name phone messenger utm repeats notified_at created_at',
  audit_log: 'id action client_id detail created_at',
}
for (const name of Object.keys(TABLES)) TABLES[name] = new Set(TABLES[name].split(' '))

const JSON_COLUMNS = new Set(['profile', 'value', 'meals', 'extra', 'utm', 'detail'])
const CONFLICTS = { days: 'client_id, day', shared_products: 'fingerprint', client_kv: 'client_id, key' }
const RESERVED = new Set(['select', 'order', 'limit', 'offset', 'on_conflict', 'table'])
const OPERATORS = { eq: '=', neq: '<>', gt: '>', lt: '<', gte: '>=', lte: '<=', like: 'LIKE', ilike: 'ILIKE' }

function column(table, name) {
  if (!TABLES[table].has(name)) throw new HttpError(400, 'UNKNOWN_COLUMN', `${table} has no column ${name}`)
  return `"${name}"`
}

/** `in.(a,b)` and `contains.{a,b}` take lists; `is.null`, `is.true` and `is.false` take a word. */
function condition(table, name, expression, values) {
  const at = expression.indexOf('.')
  const op = at < 0 ? '' : expression.slice(0, at)
  const operand = expression.slice(at + 1)
  const quoted = column(table, name)
  if (Object.hasOwn(OPERATORS, op)) {
    values.push(operand)
    return `${quoted} ${OPERATORS[op]} $${values.length}`
  }
  if (op === 'in') {
    const list = operand.replace(/^\(|\)$/g, '').split(',')
    return `${quoted} IN (${list.map((item) => `$${values.push(item)}`).join(', ')})`
  }
  if (op === 'contains') {
    values.push(operand)
    return `${quoted} @> $${values.length}`
  }
  if (op === 'is' && ['null', 'true', 'false'].includes(operand)) return `${quoted} IS ${operand.toUpperCase()}`
  throw new HttpError(400, 'INVALID_FILTER', `${name}=${expression}`)
}

function where(table, parameters, values) {
  const parts = Object.entries(parameters)
    .filter(([name]) => !RESERVED.has(name))
    .flatMap(([name, given]) => [].concat(given).map((one) => condition(table, name, String(one), values)))
  return { sql: parts.length > 0 ? ` WHERE ${parts.join(' AND ')}` : '', count: parts.length }
}

function whole(text, fallback, most) {
  if (text === undefined) return fallback
  if (!/^\d{1,9}$/.test(text)) throw new HttpError(400, 'INVALID_LIMIT', String(text))
  return Math.min(Number(text), most)
}

function selectStatement(table, parameters) {
  const values = []
  const columns = parameters.select && parameters.select !== '*' ? parameters.select.split(',') : [...TABLES[table]]
  const list = columns.map((name) => column(table, name.trim())).join(', ')
  const { sql } = where(table, parameters, values)
  const order = (parameters.order || '')
    .split(',')
    .filter(Boolean)
    .map((item) => {
      const [name, direction] = item.split('.')
      return `${column(table, name)} ${direction === 'desc' ? 'DESC' : 'ASC'}`
    })
  const sorted = order.length > 0 ? ` ORDER BY ${order.join(', ')}` : ''
  const limit = whole(parameters.limit, DEFAULT_LIMIT, 10_000)
  const offset = whole(parameters.offset, 0, 1e9)
  return { text: `SELECT ${list} FROM "${table}"${sql}${sorted} LIMIT ${limit} OFFSET ${offset}`, values }
}

/** Objects become JSON where the column is json; node-postgres would make an array literal of a JS array. */
function parameter(name, value) {
  return JSON_COLUMNS.has(name) && value !== null && value !== undefined ? JSON.stringify(value) : value
}

function insertStatement(table, rows, conflict) {
  const names = [...new Set(rows.flatMap(Object.keys))]
  if (names.length === 0) throw new HttpError(400, 'EMPTY_ROW')
  const columns = names.map((name) => column(table, name)).join(', ')
  const values = []
  const tuples = rows.map((row) => `(${names.map((name) => `$${values.push(parameter(name, row[name]))}`).join(', ')})`)
  let tail = ''
  if (conflict !== undefined) {
    if (CONFLICTS[table] === undefined) throw new HttpError(400, 'NO_UPSERT', table)
    const keys = CONFLICTS[table].split(', ')
    const sets = names.filter((name) => !keys.includes(name)).map((name) => `"${name}" = excluded."${name}"`)
    tail = ` ON CONFLICT (${keys.map((key) => `"${key}"`).join(', ')}) DO `
    tail += sets.length > 0 ? `UPDATE SET ${sets.join(', ')}` : 'NOTHING'
  }
  return { text: `INSERT INTO "${table}" (${columns}) VALUES ${tuples.join(', ')}${tail}`, values }
}

function updateStatement(table, patch, parameters) {
  const values = []
  const names = Object.keys(patch)
  if (names.length === 0) throw new HttpError(400, 'EMPTY_ROW')
  const sets = names.map((name) => `${column(table, name)} = $${values.push(parameter(name, patch[name]))}`)
  const { sql, count } = where(table, parameters, values)
  if (count === 0) throw new HttpError(400, 'FILTER_REQUIRED')
  return { text: `UPDATE "${table}" SET ${sets.join(', ')}${sql} RETURNING *`, values }
}

/** Key-value rows: each in its own transaction, its revision raised under the row's lock. */
async function writeKeyValues(client, rows) {
  const saved = []
  for (const row of rows) {
    await client.query('BEGIN')
    try {
      const old = await client.query('SELECT revision FROM client_kv WHERE client_id = $1 AND key = $2 FOR UPDATE', [
        row.client_id,
        row.key,
      ])
      const revision = old.rowCount === 0 ? 1 : Number(old.rows[0].revision) + 1
      const { rows: written } = await client.query(
        `INSERT INTO client_kv (client_id, key, value, revision) VALUES ($1, $2, $3, $4)
         ON CONFLICT (client_id, key) DO UPDATE SET value = excluded.value, revision = excluded.revision,
           updated_at = now()
         RETURNING key, revision, updated_at`,
        [row.client_id, row.key, parameter('value', row.value), revision],
      )
      await client.query('COMMIT')
      saved.push(written[0])
    } catch (error) {
      await client.query('ROLLBACK').catch(() => {})
      throw error
    }
  }
  return saved
}

async function post(client, table, event, parameters) {
  const body = jsonBody(event, BODY_LIMIT)
  const rows = [].concat(body)
  if (rows.length > MAX_ROWS) throw new HttpError(413, 'TOO_MANY_ROWS', `At most ${MAX_ROWS} rows`)
  if (rows.some((row) => row === null || typeof row !== 'object')) throw new HttpError(400, 'INVALID_ROW')
  if (table === 'client_kv' && parameters.on_conflict === undefined) {
    return { statusCode: 200, body: { rows: await writeKeyValues(client, rows) } }
  }
  const { text, values } = insertStatement(table, rows, parameters.on_conflict)
  if (rows.length === 1) {
    const result = await client.query(`${text} RETURNING *`, values)
    return { statusCode: 201, body: result.rows[0] || null }
  }
  const result = await client.query(text, values)
  return { statusCode: 201, body: { count: result.rowCount } }
}

function failure(error) {
  const known = { 23505: [409, 'DUPLICATE'], 23503: [409, 'REFERENCED_ROW'], 23514: [400, 'CHECK_VIOLATION'] }[
    error.code
  ]
  if (known) return { statusCode: known[0], body: { error: known[1], constraint: error.constraint } }
  // 22xxx: a value of the caller's that does not fit its column; 23502: a required one is missing.
  if (/^22|^23502$/.test(error.code)) return { statusCode: 400, body: { error: 'INVALID_VALUE', code: error.code } }
  throw error
}

async function handle(event) {
  const parameters = query(event)
  const table = route(event).split('/').pop()
  if (!Object.hasOwn(TABLES, table)) throw new HttpError(404, 'UNKNOWN_TABLE')

  const client = await getPool().connect()
  try {
    if (event.httpMethod === 'GET') {
      const { text, values } = selectStatement(table, parameters)
      const { rows } = await client.query(text, values)
      return { statusCode: 200, body: rows }
    }
    if (event.httpMethod === 'POST') return await post(client, table, event, parameters)
    if (event.httpMethod === 'PATCH') {
      const { text, values } = updateStatement(table, jsonBody(event, BODY_LIMIT), parameters)
      const { rows } = await client.query(text, values)
      return { statusCode: 200, body: rows }
    }
    const values = []
    const { sql, count } = where(table, parameters, values)
    if (count === 0) throw new HttpError(400, 'FILTER_REQUIRED')
    const { rowCount } = await client.query(`DELETE FROM "${table}"${sql}`, values)
    return { statusCode: 200, body: { count: rowCount } }
  } catch (error) {
    return failure(error)
  } finally {
    client.release()
  }
}

// One client a call: calls never wait for each other's second one. More than POOL_MAX_SIZE would only queue.
exports.handler = withAdmission(http('REST', ['GET', 'POST', 'PATCH', 'DELETE'], handle), { limit: 3 })
