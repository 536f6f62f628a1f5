// The packages as their users meet them: the tarball in an empty folder, the functions' zips, deploy.sh's calls, and a
// backup from heys-backup's own package in a read-only folder with an empty environment.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { inflateRawSync } from 'node:zlib'
import { must, root, run } from '../lib/run.mjs'

const require = createRequire(import.meta.url)
const { start } = require('../../examples/functions/test/database')

const NAMES = ['heys-api-rpc', 'heys-api-rest', 'heys-api-auth', 'heys-api-leads', 'heys-api-payments', 'heys-backup']
const SECRETS = { PG_PASSWORD: 'pw-7f3a', S3_SECRET_ACCESS_KEY: 'sk-91bc', TELEGRAM_BOT_TOKEN: 'tg-55de' }

let folder
let database
let dist
let packed

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'heys-package-'))
  // Another user runs the packed function.
  chmodSync(folder, 0o755)
  dist = path.join(folder, 'dist')
  database = await start({ s3: true, telegram: true })
  const env = { HEYS_DIST: dist, PG_ROOT_CERT_FILE: database.sandbox.pg.caPath }
  await must(process.execPath, ['scripts/package-functions.mjs', '--no-build'], { print: false, env })
  packed = JSON.parse(readFileSync(path.join(dist, 'functions/index.json'), 'utf8'))
})

after(async () => {
  await database?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** Entries of a zip's central directory (APPNOTE 4.3.12), their contents inflated. */
function unzip(file) {
  const bytes = readFileSync(file)
  const end = bytes.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'))
  const entries = []
  let at = bytes.readUInt32LE(end + 16)
  for (let i = 0; i < bytes.readUInt16LE(end + 10); i++) {
    const name = bytes.toString('utf8', at + 46, at + 46 + bytes.readUInt16LE(at + 28))
    const local = bytes.readUInt32LE(at + 42)
    const from = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28)
    const stored = bytes.subarray(from, from + bytes.readUInt32LE(at + 20))
    const data = bytes.readUInt16LE(at + 10) === 8 ? inflateRawSync(stored) : stored
    entries.push({ name, mode: (bytes.readUInt32LE(at + 38) >>> 16) & 0o777, data })
    at += 46 + bytes.readUInt16LE(at + 28) + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32)
  }
  return entries
}

const npm = (args, cwd) => must('npm', [...args, '--prefer-offline', '--no-audit', '--no-fund'], { print: false, cwd })

test('the tarball: no install script, one platform, the addon and nothing of development', async () => {
  const tarball = readdirSync(dist).find((file) => file.endsWith('.tgz'))
  const list = await must('tar', ['-tzf', path.join(dist, tarball)], { print: false })
  const files = list.trim().split('\n')
  assert.deepEqual(
    files.filter((file) => /^package\/node-binding\/js\//.test(file)).sort(),
    ['backup-handler.js', 'esm.js', `heys-db.linux-${process.arch}-gnu.node`, 'index.js', 'index.mjs', 'rest.js'].map(
      (file) => `package/node-binding/js/${file}`,
    ),
  )
  assert.deepEqual(
    files.filter((file) => !/^package\/(node-binding\/|lib\/|README|CHANGELOG|LICENSE|package\.json)/.test(file)),
    [],
  )
  const manifest = JSON.parse(
    await must('tar', ['-xzOf', path.join(dist, tarball), 'package/package.json'], { print: false }),
  )
  assert.equal(manifest.scripts, undefined)
  assert.equal(manifest.devDependencies, undefined)
  assert.deepEqual([manifest.os, manifest.cpu, manifest.libc], [['linux'], [process.arch], ['glibc']])
})

/** A folder with the tarball installed; made once. */
function installed() {
  installing ??= (async () => {
    const empty = path.join(folder, 'empty')
    mkdirSync(empty)
    const tarball = readdirSync(dist).find((file) => file.endsWith('.tgz'))
    await npm(['install', path.join(dist, tarball)], empty)
    return empty
  })()
  return installing
}
let installing

/** Runs a program there with neither a compiler nor this repository's modules in reach; resolves its output. */
async function program(script, env = {}) {
  const cwd = await installed()
  const bare = { print: false, cwd, env: { ...database.env, PATH: '/nowhere', NODE_PATH: '', ...env } }
  return must(process.execPath, ['-e', script], bare)
}

test('the addon is at most 12 MB', async () => {
  const addon = path.join(
    await installed(),
    `node_modules/heys-db/node-binding/js/heys-db.linux-${process.arch}-gnu.node`,
  )
  assert.ok(statSync(addon).size <= 12_000_000, `${statSync(addon).size} bytes; is it a release build?`)
})

test('the tarball installs in an empty folder and is required and imported', async () => {
  const script = `
    const heys = require('heys-db')
    if (heys.types !== require('pg-types')) throw new Error('types')
    if (typeof require('heys-db/backup-handler').handler !== 'function') throw new Error('backup-handler')
    import('heys-db').then(async (esm) => {
      if (esm.Pool !== heys.Pool || esm.default !== heys) throw new Error('ESM')
      const { rows } = await heys.getPool().query('SELECT 1 AS one')
      const pool = new heys.Pool({ connectionString: 'postgres://u@h/db' })
      console.log(rows[0].one, pool.options.max)
      await heys.closePool()
    })`
  assert.match(await program(script), /^1 10$/m)
})

test('a query needs one JavaScript file; what few programs use comes from another when they do', async () => {
  const script = `
    const heys = require('heys-db')
    const files = () => Object.keys(require.cache).map((file) => require('path').basename(file)).join()
    console.log(files())
    heys.getPool().query("SELECT 1 AS one, 'two' AS two, now() AS three, '{}'::jsonb AS four").then(async () => {
      console.log(files())
      const text = 'postgres://' + process.env.PG_USER + '@' + process.env.PG_HOST + '/x?sslmode=disable'
      const { host } = new heys.Client({ connectionString: text })
      console.log(host === process.env.PG_HOST, files())
      await heys.closePool()
      new heys.Client().connection
      console.log(files())
      await heys.closePool()
    })`
  const addon = `heys-db.linux-${process.arch}-gnu.node`
  const lines = (await program(script)).split('\n').filter((line) => /^(true )?index\.js/.test(line))
  assert.deepEqual(lines, ['index.js', `index.js,${addon}`, `true index.js,${addon}`, `index.js,${addon},rest.js`])
})

test('an import has every name without the other file, and without net and tls', async () => {
  const script = `
    const before = new Set(process.moduleLoadList)
    import('heys-db').then((all) => {
      const builtins = process.moduleLoadList.filter((name) => !before.has(name))
      const files = Object.keys(require.cache).filter((file) => file.includes('heys-db'))
      const heys = require('heys-db')
      const other = Object.keys(heys).filter((name) => !name.startsWith('_') && all[name] !== heys[name])
      require('fs').writeSync(1, [
        other.join(),
        files.map((file) => require('path').basename(file)).join(),
        builtins.filter((name) => /^NativeModule (net|tls|crypto)$/.test(name)).join(),
      ].join('|'))
    })`
  assert.equal((await program(script)).trim(), '|esm.js,index.js|')
})

test("lib/* is the bundle's own: the very classes, whoever is asked first", async () => {
  const wanted = {
    client: 'heys.Client',
    connection: 'heys.Connection',
    'connection-parameters': 'new heys.Client().connectionParameters.constructor',
    defaults: 'heys.defaults',
    index: 'heys',
    query: 'heys.Query',
    result: 'heys.Result',
    'type-overrides': 'heys.TypeOverrides',
    utils: 'heys.utils',
  }
  const files = readdirSync(path.join(await installed(), 'node_modules/heys-db/lib'))
  assert.deepEqual(
    files.filter((file) => file.endsWith('.js')).sort(),
    Object.keys(wanted)
      .map((name) => `${name}.js`)
      .sort(),
  )
  for (const [name, same] of Object.entries(wanted)) {
    const script = `
      const part = require('heys-db/lib/${name}')
      const heys = require('heys-db')
      console.log(part === ${same}, require('heys-db/lib/${name}.js') === part)`
    assert.equal((await program(script)).trim(), 'true true', name)
  }
})

test('the classes of both files know each other, and names show as they were written', async () => {
  const script = `
    const heys = require('heys-db')
    const { EventEmitter } = require('events')
    const client = new heys.Client({ host: '127.0.0.1', port: 1 })
    if (!(client.connection instanceof heys.Connection)) throw new Error('Connection')
    const names = [heys.Client, heys.Pool, heys.Query, heys.Result, heys.Connection, heys.DatabaseError, heys.runBackup]
    console.log(names.map(({ name }) => name).join())
    client.connect().catch((error) => console.log(error.code))
    try { new heys.Client({ sslnegotiation: 'x' }) } catch (error) { console.log(/negotiationFrom/.test(error.stack)) }`
  const output = await program(script)
  assert.equal(output.trim(), 'Client,Pool,Query,Result,Connection,DatabaseError,runBackup\ntrue\nECONNREFUSED')
})

test('row streams, COPY and type parsers, from the other file, work on clients of the first', async () => {
  const script = `
    const heys = require('heys-db')
    heys.withClient(async (client) => {
      const rows = []
      for await (const row of client.stream('SELECT generate_series(1, 3) AS n')) rows.push(row.n)
      const copied = []
      for await (const bytes of client.copyTo('COPY (SELECT 4) TO STDOUT')) copied.push(bytes)
      client.setTypeParser(23, (text) => 'int ' + text)
      const own = await client.query('SELECT 5 AS n')
      console.log(rows.join(), Buffer.concat(copied).toString().trim(), own.rows[0].n)
    }).finally(() => heys.closePool())`
  assert.match(await program(script), /^1,2,3 4 int 5$/m)
})

test('worker threads have instances of their own', async () => {
  const script = `
    const { Worker, isMainThread } = require('worker_threads')
    const heys = require('heys-db')
    const one = async () => (await heys.getPool().query('SELECT 1 AS one')).rows[0].one
    const inside = "require('heys-db').getPool().query('SELECT 2 AS two').then(async ({ rows }) => {" +
      "require('worker_threads').parentPort.postMessage(rows[0].two); await require('heys-db').closePool() })"
    const two = new Promise((resolve, reject) => {
      new Worker(inside, { eval: true }).once('message', resolve).once('error', reject)
    })
    Promise.all([one(), two]).then(async (both) => {
      console.log(both.join())
      await heys.closePool()
    })`
  assert.match(await program(script), /^1,2$/m)
})

test('a program with heys-db inside, bundled by esbuild, finds its addon by HEYS_ADDON', async () => {
  const { build } = await import('esbuild')
  const cwd = await installed()
  const outfile = path.join(folder, 'bundled.cjs')
  const contents = `
    import { getPool, closePool, Connection, Client } from 'heys-db'
    import Query from 'heys-db/lib/query'
    import heys from 'heys-db'
    if (heys.Query !== Query || !(new Client().connection instanceof Connection)) throw new Error('two of one')
    getPool().query('SELECT 1 AS one').then(async ({ rows }) => {
      console.log(rows[0].one)
      await closePool()
    })`
  await build({
    stdin: { contents, resolveDir: cwd },
    outfile,
    bundle: true,
    platform: 'node',
    external: ['*.node'],
    logLevel: 'warning',
  })
  const addon = path.join(cwd, `node_modules/heys-db/node-binding/js/heys-db.linux-${process.arch}-gnu.node`)
  const env = { ...database.env, HEYS_ADDON: addon }
  assert.match(await must(process.execPath, [outfile], { print: false, cwd: folder, env }), /^1$/m)
})

test('every zip is what its upload flags say', () => {
  assert.deepEqual(
    packed.map(({ name }) => name),
    NAMES,
  )
  for (const { file, bytes, sha256, flags } of packed) {
    const content = readFileSync(path.resolve(root, file))
    assert.equal(content.length, bytes)
    assert.equal(createHash('sha256').update(content).digest('hex'), sha256)
    if (bytes > 3.5 * 1024 * 1024) assert.match(flags, new RegExp(`--package-bucket-name .*--package-sha256 ${sha256}`))
    else assert.match(flags, /^--source-path /)
    const names = unzip(path.resolve(root, file)).map((entry) => entry.name)
    for (const wanted of ['index.js', 'package.json', 'package-lock.json']) assert.ok(names.includes(wanted), wanted)
    assert.ok(names.every((name) => !name.startsWith('node_modules')))
    assert.ok(bytes < 128 * 1024 * 1024)
  }
})

test('deploy.sh shows every call, the timer and the roles, and no secret, and changes nothing', async () => {
  const bin = path.join(folder, 'no-yc')
  mkdirSync(bin)
  const called = path.join(folder, 'called')
  writeFileSync(path.join(bin, 'yc'), `#!/bin/sh\ntouch ${called}\n`, { mode: 0o755 })
  const env = { ...SECRETS, HEYS_DIST: dist, SKIP_PACKAGING: '1', PATH: `${bin}:${process.env.PATH}` }
  const output = await must('examples/functions/deploy.sh', [], { print: false, env })
  assert.equal(existsSync(called), false)
  for (const secret of Object.values(SECRETS)) assert.ok(!output.includes(secret))
  for (const name of NAMES) assert.match(output, new RegExp(`version create --function-name ${name} `))
  assert.match(output, /--secret environment-variable=PG_PASSWORD\\?,id=<LOCKBOX_ID>/)
  assert.match(output, /lockbox\.payloadViewer/)
})

test('deploy.sh --run passes each argument whole', async () => {
  const bin = path.join(folder, 'yc')
  mkdirSync(bin)
  const log = path.join(folder, 'yc.log')
  const fake = `#!/usr/bin/env node
    require('fs').appendFileSync(${JSON.stringify(log)}, JSON.stringify(process.argv.slice(2)) + '\\n')
    process.exit(process.argv[4] === 'get' ? 1 : 0)`
  writeFileSync(path.join(bin, 'yc'), fake, { mode: 0o755 })
  const settings = {
    FOLDER_ID: 'f1',
    SERVICE_ACCOUNT_ID: 's1',
    LOCKBOX_ID: 'l1',
    LOCKBOX_VERSION: 'v1',
    NETWORK_ID: 'n1',
  }
  const env = { ...settings, PG_HOST: 'db.example', HEYS_DIST: dist, SKIP_PACKAGING: '1' }
  const options = { print: false, env: { ...env, PATH: `${bin}:${process.env.PATH}` } }
  await must('examples/functions/deploy.sh', ['--run', 'heys-backup'], options)
  const calls = readFileSync(log, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const find = (...words) => calls.find((args) => words.every((word, i) => args[i] === word))
  const argument = (args, flag) => args[args.indexOf(flag) + 1]
  const timer = find('serverless', 'trigger', 'create', 'timer')
  assert.equal(argument(timer, '--cron-expression'), '0 3 * * ? *')
  const version = find('serverless', 'function', 'version', 'create')
  assert.equal(argument(version, '--execution-timeout'), '600s')
  assert.match(argument(version, '--environment'), /PG_HOST=db\.example,.*S3_STORAGE_CLASS=COLD/)
  assert.equal(version.filter((word) => word === '--secret').length, 5)
  assert.ok(find('serverless', 'function', 'create'))

  delete env.PG_HOST
  const without = await run('examples/functions/deploy.sh', ['--run'], {
    ...options,
    env: { ...options.env, PG_HOST: '' },
  })
  assert.notEqual(without.code, 0)
  assert.match(without.output, /Set PG_HOST/)
})

test('heys-backup makes a backup from a read-only folder with an empty environment', async () => {
  const deployed = path.join(folder, 'function')
  const entries = unzip(path.resolve(root, packed.find(({ name }) => name === 'heys-backup').file))
  for (const { name, mode, data } of entries) {
    mkdirSync(path.dirname(path.join(deployed, name)), { recursive: true })
    writeFileSync(path.join(deployed, name), data, { mode })
  }
  const modes = Object.fromEntries(entries.map(({ name, mode }) => [name, mode]))
  assert.equal(modes['bin/pg_dump'], 0o755)
  assert.equal(modes['index.js'], 0o644)
  assert.equal(readFileSync(path.join(deployed, 'bin/pg_dump')).toString('latin1', 0, 4), '\x7fELF')
  assert.ok(entries.every(({ name }) => !/lib\/(lib(c|m|pthread|resolv)\.so|ld-linux)/.test(name)))

  // What the platform does after the upload.
  await npm(['ci', '--omit=dev'], deployed)
  await must('chmod', ['-R', 'a-w,a+rX', deployed], { print: false })

  // Root writes where it likes: as root, somebody else runs it.
  const nobody = 65534
  const script = `require(${JSON.stringify(deployed)}).handler({}, { getRemainingTimeInMillis: () => 60000 })
    .then((answer) => console.log(JSON.stringify(answer)))`
  const { PG_SSLROOTCERT, ...env } = database.env
  assert.ok(PG_SSLROOTCERT)
  env.PG_DUMP_PATH = path.join(deployed, 'bin/pg_dump')
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  const command = ['-i', ...variables, process.execPath, '-e', script]
  const asRoot = process.getuid() === 0
  const setpriv = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', 'env', ...command]
  const { code, output } = await run(asRoot ? setpriv[0] : 'env', asRoot ? setpriv.slice(1) : command, {
    print: false,
    cwd: '/',
  })
  assert.equal(code, 0, output)
  const answer = JSON.parse(output.trim().split('\n').at(-1))
  assert.equal(answer.statusCode, 200, output)
  const body = typeof answer.body === 'string' ? JSON.parse(answer.body) : answer.body
  assert.equal(body.success, true)
  const objects = await database.sandbox.s3.objects()
  assert.deepEqual(
    objects.map(({ key }) => key),
    [body.s3Key],
  )
  assert.equal(statSync(deployed).mode & 0o222, 0)
  await must('chmod', ['-R', 'u+w', deployed], { print: false })
})
