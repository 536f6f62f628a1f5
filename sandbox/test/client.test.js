'use strict'
const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { existsSync, readFileSync } = require('node:fs')
const net = require('node:net')
const path = require('node:path')
const { once } = require('node:events')
const { test } = require('node:test')
const { startSandbox } = require('../client')

const refused = (port) =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.on('connect', () => socket.destroy() && resolve(false))
    socket.on('error', () => resolve(true))
  })

test('every part starts, obeys and is gone after stop', async () => {
  const sb = await startSandbox({ postgres: true, s3: true, telegram: true, proxy: true })
  const env = sb.env()
  for (const name of ['PG_HOST', 'PG_PORT', 'PG_PASSWORD', 'S3_ENDPOINT', 'S3_BUCKET', 'TELEGRAM_API_BASE']) {
    assert.ok(env[name], name)
  }
  assert.match(readFileSync(env.PG_SSLROOTCERT, 'utf8'), /BEGIN CERTIFICATE/)
  assert.equal(await sb.pg.sql({ sql: 'SELECT 1' }), '1')

  await sb.s3.putObject({ key: 'old', body: 'bytes', modified: new Date('2020-01-01T00:00:00Z') })
  const [object] = await sb.s3.objects()
  assert.deepEqual([object.key, object.size, object.modified], ['old', 5, Date.UTC(2020, 0, 1)])
  assert.equal(String(await sb.s3.getObject({ key: 'old' })), 'bytes')
  await sb.s3.fault({ operation: '*', action: { error: { status: 500, code: 'InternalError' } } })
  assert.equal((await fetch(`${sb.s3.endpoint}/heys-backups/old`)).status, 500)
  await sb.s3.waitForRequests({ operation: 'GetObject', answered: true })
  await assert.rejects(sb.s3.fault({ operation: '*', action: 'explode' }), /explode/)

  await sb.telegram.answer({ answer: { tooManyRequests: { retryAfter: 2 } } })
  const url = `${sb.telegram.apiBase}/bot${sb.telegram.token}/sendMessage`
  const body = new URLSearchParams({ chat_id: sb.telegram.chatId, text: 'hello' })
  assert.equal((await fetch(url, { method: 'POST', body })).status, 429)
  const messages = await sb.telegram.messages()
  assert.deepEqual([messages[0].text, messages[0].delivered], ['hello', false])

  const second = await sb.proxy.listen({ target: 's3' })
  assert.equal((await fetch(`http://127.0.0.1:${second.port}/heys-backups/old`)).status, 403)
  assert.equal((await second.stats()).accepted, 1)
  await second.refuse()
  assert.equal(await refused(second.port), true)
  assert.equal(await refused(sb.proxy.port), false)

  await sb.stop()
  assert.equal(existsSync(sb.pg.folder), false)
  assert.equal(await refused(sb.pg.port), true)
  await assert.rejects(sb.s3.objects(), /heys-sandbox ended/)
})

test('an unknown part and a wrong option are explained', async () => {
  await assert.rejects(startSandbox({ mysql: true }), /unknown part of the sandbox: mysql/)
  await assert.rejects(startSandbox({ s3: { bukket: 'x' } }), /bukket/)
})

test('a program that ends or is killed takes its sandbox with it', async () => {
  for (const ending of ['0', "process.kill(process.pid, 'SIGKILL')"]) {
    const client = JSON.stringify(path.join(__dirname, '../client'))
    const script = `require(${client}).startSandbox({ s3: true }).then((sb) => { console.log(sb.pid, sb.s3.folder); ${ending} })`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text) => (output += text))
    // The sandbox does not hold its output: an idle one lets Node end by itself.
    await once(child, 'close')
    const [pid, folder] = output.trim().split(' ')
    const deadline = Date.now() + 20000
    while (existsSync(folder) || existsSync(`/proc/${pid}/exe`)) {
      assert.ok(Date.now() < deadline, `${folder} is still there`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
})
