'use strict'

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { it } = require('node:test')
const { provider } = require('../provider')
const { settings } = require('../server')

it('every promise beyond node-postgres fails on plain pg', { timeout: 240000 }, async () => {
  if (provider === 'pg') return
  const { user, password, host, port, database } = await settings()
  const env = { ...process.env, HEYS_PROVIDER: 'pg', NODE_OPTIONS: '' }
  env.HEYS_TEST_PG = `postgres://${encodeURIComponent(user)}:${encodeURIComponent(password)}@${host}:${port}/${database}`
  delete env.NODE_TEST_CONTEXT
  const child = spawn(process.execPath, ['--test-reporter=tap', require.resolve('./beyond-pg.test.js')], { env })
  let printed = ''
  child.stdout.on('data', (chunk) => (printed += chunk))
  // pg's connections are left in a state that keeps the process alive, so it is ended after the last suite's verdict.
  await new Promise((resolve) => {
    child.on('exit', resolve)
    child.stdout.on('data', () => /^(not )?ok \d+ - strictPg$/m.test(printed) && child.kill())
  })
  const verdicts = printed.split('\n').filter((line) => /^ {4}(not )?ok \d/.test(line))
  assert.ok(verdicts.length >= 12, printed)
  assert.deepEqual(
    verdicts.filter((line) => line.startsWith('    ok')),
    [],
  )
})
