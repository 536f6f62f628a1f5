'use strict'

/** Where getPool finds the server's root certificate when none is named: beside the program. */

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } = require('node:fs')
const { tmpdir } = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { startSandbox } = require('../../sandbox/client')

const PROGRAM = `
  const { getPool, closePool } = require('heys-db')
  getPool().query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')
    .then(({ rows }) => console.log(rows[0].ssl ? 'over TLS' : 'plain'), (error) => console.log(error.message))
    .then(closePool)`

let sandbox
let folder
let app

before(async () => {
  sandbox = await startSandbox({ postgres: true })
  folder = mkdtempSync(path.join(tmpdir(), 'heys-trust-'))
  app = path.join(folder, 'app')
  mkdirSync(path.join(app, 'node_modules'), { recursive: true })
  symlinkSync(path.join(__dirname, '../..'), path.join(app, 'node_modules/heys-db'))
  writeFileSync(path.join(app, 'index.js'), PROGRAM)
})

after(async () => {
  await sandbox?.stop()
  if (folder) rmSync(folder, { recursive: true, force: true })
})

/** What the program prints that is run in `cwd`, verification on, without a home or a root that is named. */
function output(cwd, args) {
  const { host, port, user, password, database } = sandbox.pg
  const env = { PG_HOST: host, PG_PORT: String(port), PG_USER: user, PG_PASSWORD: password, PG_DATABASE: database }
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { cwd, env: { ...env, HOME: folder } }, (error, stdout, stderr) =>
      error ? reject(new Error(stderr, { cause: error })) : resolve(stdout.trim().split('\n').at(-1)),
    )
  })
}

/** Lays the root certificate into `certs` of this folder while `fn` runs. */
async function withRoot(where, fn) {
  const certs = path.join(where, 'certs')
  mkdirSync(certs, { recursive: true })
  copyFileSync(sandbox.pg.caPath, path.join(certs, 'root.crt'))
  try {
    return await fn()
  } finally {
    rmSync(certs, { recursive: true })
  }
}

test('without it, the error says where to name it', async () => {
  assert.match(await output(folder, ['app/index.js']), /PG_SSLROOTCERT/)
})

for (const where of ['app', 'app/shared', '.']) {
  test(`certs/root.crt in ${where} is found from the entry module app/index.js`, async () => {
    const program = path.join(app, 'index.js')
    assert.equal(await withRoot(path.join(folder, where), () => output('/', [program])), 'over TLS')
  })
}

test('certs/root.crt in the working folder is found', async () => {
  const elsewhere = path.join(folder, 'elsewhere')
  mkdirSync(elsewhere)
  const program = path.join(app, 'index.js')
  assert.equal(await withRoot(elsewhere, () => output(elsewhere, [program])), 'over TLS')
})

test('certs/root.crt beside node_modules is found when the entry module is somebody else', async () => {
  const program = `const Module = require('module')
    Module.createRequire(${JSON.stringify(path.join(app, 'index.js'))})('./index.js')`
  const args = ['--preserve-symlinks', '-e', program]
  assert.equal(await withRoot(app, () => output('/', args)), 'over TLS')
})
