'use strict'

// What a program does not ask for it does not pay for: each test looks into a fresh process.

const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const { describe, it } = require('node:test')
const { promisify } = require('node:util')
const { environment, settings } = require('../server')

const HEYS = JSON.stringify(require.resolve('../..'))
/** Reading any of these would fail. */
const NO_ROOTS = {
  SSL_CERT_FILE: '/nowhere/roots.pem',
  SSL_CERT_DIR: '/nowhere',
  PG_SSLROOTCERT: '/nowhere/server.pem',
}

/** Runs a program; resolves the builtins and files that it, and not an empty one, has loaded at its end. */
async function loaded(body) {
  const program = `
    const before = new Set(process.moduleLoadList)
    const target = ${JSON.stringify(await settings())}
    async function main() {
      const heys = require(${HEYS})
      ${body}
      const builtins = process.moduleLoadList.filter((name) => name.startsWith('NativeModule ') && !before.has(name))
      const files = Object.keys(require.cache)
      // console.log would load net.
      require('fs').writeSync(1, JSON.stringify({ builtins: builtins.map((name) => name.slice(13)), files }))
    }
    main().catch((error) => { console.error(error); process.exitCode = 1 })`
  const env = { ...process.env, ...(await environment()), ...NO_ROOTS }
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program], { env, timeout: 20000 })
  return JSON.parse(stdout)
}

const NETWORK = /^(net|tls|dns|crypto|https?|_tls_.*|internal\/(net|tls|crypto|dns).*)$/

describe('a cold start', () => {
  it('requires one file and no builtin', async () => {
    const { builtins, files } = await loaded('')
    assert.deepEqual(
      files.map((file) => JSON.stringify(file)),
      [HEYS],
    )
    assert.deepEqual(
      builtins.filter((name) => !name.startsWith('internal/')),
      [],
    )
  })

  it('imports every name and loads neither net nor tls nor the addon', async () => {
    const { builtins, files } = await loaded(
      `await import(${JSON.stringify(require.resolve('../../node-binding/js/index.mjs'))})`,
    )
    assert.deepEqual(
      builtins.filter((name) => NETWORK.test(name)),
      [],
    )
    assert.deepEqual(
      files.filter((file) => /\.node$|pg-protocol|pgpass/.test(file)),
      [],
    )
  })

  it('makes a Client without TLS and loads neither net nor tls nor the addon', async () => {
    const { builtins, files } = await loaded('new heys.Client({ ...target })')
    assert.deepEqual(
      builtins.filter((name) => NETWORK.test(name)),
      [],
    )
    assert.deepEqual(
      files.filter((file) => file.endsWith('.node')),
      [],
    )
  })

  it('connects and queries without TLS, and loads neither net nor tls nor pg-types, nor reads a root certificate', async () => {
    const { builtins, files } = await loaded(`
      const client = new heys.Client(target)
      await client.connect()
      const { rows } = await client.query("SELECT $1::int AS a, now() AS b, '{}'::jsonb AS c", [1])
      if (rows[0].a !== 1) throw new Error('wrong row')
      await client.end()`)
    assert.deepEqual(
      builtins.filter((name) => NETWORK.test(name)),
      [],
    )
    assert.deepEqual(
      files.filter((file) => file.includes('node_modules')),
      [],
    )
  })

  it('has getPool() query without TLS, and read no root certificate', async () => {
    const { files } = await loaded(`
      console.log = () => {}
      await heys.getPool().query('SELECT 1')
      await heys.closePool()`)
    assert.deepEqual(
      files.filter((file) => file.includes('node_modules')),
      [],
    )
  })

  it('verifies a certificate by a given ca without reading any root certificate', async () => {
    const { builtins } = await loaded(`
      const client = new heys.Client({ ...target, ssl: { ca: 'no certificate' } })
      const error = await client.connect().catch((error) => error)
      if (!/certificate/.test(error.message)) throw error`)
    assert.deepEqual(
      builtins.filter((name) => NETWORK.test(name)),
      [],
    )
  })
})
