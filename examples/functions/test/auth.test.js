'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { call } = require('./layout')
const { MARIA, functionSuite } = require('./suite')

const suite = functionSuite('heys-api-auth')
const { handler } = suite

const auth = (name, body, options = {}) => call(handler, 'POST', `/auth/${name}`, { body, ...options })
const clients = (token, options = {}) =>
  call(handler, 'GET', '/auth/clients', { headers: { 'x-session-token': token }, ...options })
const account = { email: 'new@heys.example', password: 'long enough', name: 'New' }

test('register, duplicate 409 by its constraint, unverified 403, verify, login', async () => {
  const registered = await auth('register', account)
  assert.equal(registered.statusCode, 201)
  assert.equal((await auth('register', account)).body.error, 'EMAIL_TAKEN')
  assert.equal((await auth('register', account)).statusCode, 409)
  assert.equal((await auth('login', account)).statusCode, 403)
  assert.equal((await auth('verify', { token: 'wrong' })).statusCode, 400)
  assert.equal((await auth('verify', { token: registered.body.verifyToken })).statusCode, 200)
  const session = await auth('login', account)
  assert.equal(session.statusCode, 200)
  assert.deepEqual((await clients(session.body.token)).body, [])
})
test('400 for missing fields, a short password, a broken address; 404 for an unknown route', async () => {
  assert.equal((await auth('register', { email: 'a@b' })).statusCode, 400)
  assert.equal((await auth('register', { email: 'a@b', password: 'short' })).body.error, 'PASSWORD_TOO_SHORT')
  assert.equal((await auth('register', { email: 'nobody', password: 'long enough' })).body.error, 'INVALID_EMAIL')
  assert.equal((await auth('nothing', {})).statusCode, 404)
  assert.equal((await auth('login', 'x'.repeat(64 * 1024 + 1))).statusCode, 413)
})
test('login, the clients of the curator, one of them, logout', async () => {
  const { body } = await auth('login', { email: 'anna@heys.example', password: 'correct horse' })
  assert.equal((await clients(body.token)).body.length, 2)
  const one = await clients(body.token, { pathParameters: { clientId: MARIA } })
  assert.deepEqual(
    one.body.map((row) => row.name),
    ['Мария'],
  )
  const unfilled = await clients(body.token, { pathParameters: { clientId: '{clientId}' } })
  assert.equal(unfilled.body.length, 2)
  assert.equal((await clients(body.token, { query: { clientId: 'x' } })).statusCode, 400)
  const bearer = { headers: { authorization: `Bearer ${body.token}` } }
  assert.equal((await auth('logout', undefined, bearer)).statusCode, 200)
  assert.equal((await clients(body.token)).statusCode, 401)
  assert.equal((await call(handler, 'GET', '/auth/clients')).statusCode, 401)
})
test('a second factor stands between login and the clients', async () => {
  // RFC 6238, appendix B: this secret at 59 s gives 94287082, of which six digits are 287082.
  const secret = Buffer.from('12345678901234567890')
  await suite.query("UPDATE curators SET mfa_secret = $1 WHERE email = 'new@heys.example'", [secret])
  const { body } = await auth('login', account)
  assert.equal(body.mfaRequired, true)
  assert.equal((await clients(body.token)).statusCode, 401)
  const headers = { 'X-Session-Token': body.token }
  assert.equal((await auth('mfa', { code: 'abcdef' }, { headers })).body.error, 'WRONG_CODE')
  const realNow = Date.now
  Date.now = () => 59_000
  try {
    assert.equal((await auth('mfa', { code: '287082' }, { headers })).statusCode, 200)
  } finally {
    Date.now = realNow
  }
  assert.equal((await clients(body.token)).statusCode, 200)
})
test('the sixth wrong login within 15 minutes is 429', async () => {
  const wrong = { email: 'anna@heys.example', password: 'guess' }
  const codes = []
  for (let i = 0; i < 6; i++) codes.push((await auth('login', wrong)).statusCode)
  assert.deepEqual(codes, [401, 401, 401, 401, 401, 429])
})
test('nine logins at once, two clients each on three connections, all end under admission', async () => {
  const login = (_, i) => auth('login', { email: `nobody${i}@heys.example`, password: 'guess' })
  const answers = await Promise.all(Array.from({ length: 9 }, login))
  assert.deepEqual(
    answers.map((answer) => answer.statusCode),
    Array(9).fill(401),
  )
})
