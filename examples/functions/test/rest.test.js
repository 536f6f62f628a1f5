'use strict'

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const { test } = require('node:test')
const { call } = require('./layout')
const { MARIA, NOBODY, OBRIEN, functionSuite } = require('./suite')

const suite = functionSuite('heys-api-rest')
const { handler } = suite

const rest = (method, table, options) => call(handler, method, `/rest/${table}`, options)
const get = async (table, query) => (await rest('GET', table, { query })).body

test('filters take strings against uuid, numeric, boolean, date and array columns', async () => {
  assert.equal((await get('clients', { id: `eq.${MARIA}`, select: 'name' }))[0].name, 'Мария')
  assert.equal((await get('days', { kcal: 'gte.2000', done: 'is.true', select: 'day' })).length > 0, true)
  assert.equal((await get('days', { day: 'lt.2025-01-03' })).length, 2)
  assert.equal((await get('days', { done: 'eq.true', limit: '5', order: 'day.desc' })).length, 5)
  assert.equal((await get('clients', { name: "eq.O'Brien", weight: 'is.null' })).length, 1)
  assert.equal((await get('clients', { tags: 'contains.{vegetarian}' })).length, 1)
  assert.equal((await get('shared_products', { name: 'in.(Product 1,Product 2)' })).length, 2)
  assert.equal((await get('shared_products', { name: 'ilike.product 1%', gi: 'neq.21' })).length, 11)
  assert.equal((await get('clients', { created_at: 'gt.2020-01-01T00:00:00Z', id: `neq.${MARIA}` })).length >= 1, true)
  assert.deepEqual(await get('shared_products', { select: 'name', order: 'kcal100', limit: '1', offset: '1' }), [
    { name: 'Product 2' },
  ])
})
test('400 for an unknown column, operator, limit or value; 404 for an unknown table', async () => {
  for (const query of [{ nope: 'eq.1' }, { id: 'like' }, { limit: '1;DROP' }, { id: 'eq.1' }, { select: 'pin_hash' }]) {
    assert.equal((await rest('GET', 'clients', { query })).statusCode, 400, JSON.stringify(query))
  }
  assert.equal((await rest('GET', 'pg_authid', {})).statusCode, 404)
  assert.equal((await rest('DELETE', 'days', {})).body.error, 'FILTER_REQUIRED')
})
test('a row: insert, duplicate 409, upsert, patch with object, array and null, delete', async () => {
  const day = { client_id: OBRIEN, day: '2025-03-01', kcal: '1999.25', meals: [{ name: 'soup' }] }
  const made = await rest('POST', 'days', { body: day })
  assert.equal(made.statusCode, 201)
  assert.deepEqual(made.body.meals, [{ name: 'soup' }])
  const again = await rest('POST', 'days', { body: day })
  assert.deepEqual([again.statusCode, again.body], [409, { error: 'DUPLICATE', constraint: 'days_client_day' }])
  const upserted = await rest('POST', 'days', {
    body: { ...day, kcal: null },
    query: { on_conflict: 'client_id,day' },
  })
  assert.deepEqual([upserted.statusCode, upserted.body.kcal], [201, null])
  const patched = await rest('PATCH', 'clients', {
    query: { id: `eq.${OBRIEN}` },
    body: { profile: { a: [1, null] }, tags: ['x', 'y "z"'], birth_date: null },
  })
  assert.deepEqual(patched.body[0].profile, { a: [1, null] })
  assert.deepEqual(patched.body[0].tags, ['x', 'y "z"'])
  const gone = await rest('DELETE', 'days', { query: { client_id: `eq.${OBRIEN}`, day: 'eq.2025-03-01' } })
  assert.deepEqual(gone.body, { count: 1 })
})
test('23503 is 409, 23514 is 400', async () => {
  assert.equal((await rest('POST', 'days', { body: { client_id: NOBODY, day: '2025-01-01' } })).statusCode, 409)
  const broken = { query: { id: `eq.${OBRIEN}` }, body: { subscription_status: 'gone' } }
  assert.equal((await rest('PATCH', 'clients', broken)).body.constraint, 'clients_subscription_status')
})
test('a batch of 500 rows of 26 columns, twice, counts its rows', async () => {
  const numbers = 'kcal100 protein100 fat100 good_fat100 trans_fat100 carbs100 simple100 complex100 fiber100 sugar100'
  const rows = Array.from({ length: 500 }, (_, i) => ({
    id: crypto.randomUUID(),
    fingerprint: `batch-${i}`,
    name: `B ${i}`,
    brand: i % 2 ? null : 'b',
    barcode: String(i),
    ...Object.fromEntries(numbers.split(' ').map((name, n) => [name, i + n / 10])),
    salt100: 1,
    sodium100: 2,
    gi: i % 100,
    harm: '0.5',
    nova_group: 1,
    portion_g: null,
    tags: ['a', 'b'],
    extra: [i],
    is_public: true,
    created_by: MARIA,
    updated_at: '2025-01-01T00:00:00Z',
  }))
  assert.equal(Object.keys(rows[0]).length, 26)
  for (let round = 0; round < 2; round++) {
    const upsert = { query: { on_conflict: 'fingerprint' }, body: rows }
    assert.deepEqual((await rest('POST', 'shared_products', upsert)).body, { count: 500 })
  }
  assert.equal((await rest('POST', 'days', { body: Array(501).fill({}) })).statusCode, 413)
})
test('key-value rows rise by one revision each under their lock', async () => {
  const row = (key, value) => ({ client_id: MARIA, key, value })
  const write = (...rows) => rest('POST', 'client_kv', { body: rows })
  await Promise.all([write(row('a', 1)), write(row('b', { deep: [] }), row('c', null))])
  await Promise.all(Array.from({ length: 8 }, (_, i) => write(row('a', i))))
  assert.deepEqual(await get('client_kv', { key: 'eq.a', select: 'revision' }), [{ revision: '9' }])
})
