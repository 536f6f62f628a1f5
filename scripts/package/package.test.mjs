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
  assert.ok(files.some((file) => /heys-db\.linux-\w+-gnu\.node$/.test(file)))
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

test('the tarball installs in an empty folder and is required and imported', async () => {
  const empty = path.join(folder, 'empty')
  mkdirSync(empty)
  const tarball = path.join(
    dist,
    readdirSync(dist).find((file) => file.endsWith('.tgz')),
  )
  await npm(['install', tarball], empty)
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
  const bare = { print: false, cwd: empty, env: { ...database.env, PATH: '/nowhere', NODE_PATH: '' } }
  assert.match(await must(process.execPath, ['-e', script], bare), /^1 10$/m)
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
