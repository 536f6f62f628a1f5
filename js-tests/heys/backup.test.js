'use strict'

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { createHash } = require('node:crypto')
const { once } = require('node:events')
const { after, afterEach, before, beforeEach, describe, it } = require('node:test')
const { Worker } = require('node:worker_threads')
const { gunzipSync } = require('node:zlib')
const heys = require('../..')
const { handler } = require('../../node-binding/js/backup-handler')
const { startSandbox } = require('../../sandbox/client')
const { eventually, rejection } = require('../support')

/** runBackup and its handler with the real pg_dump, a strict store and a recorded chat. */

const HEYS = JSON.stringify(require.resolve('../..'))
const REPORT = [
  ...['key', 'bucket', 'bytes', 'rawBytes', 'sha256', 'durationMs', 'parts', 'deleted', 'refused', 'warnings'],
  ...['storageClass', 'encryption', 'serverVersion', 'pgDumpVersion'],
]

let sandbox
let env
let form

before(async () => {
  sandbox = await startSandbox({ postgres: true, s3: true, telegram: true })
  env = { ...sandbox.env(), PATH: process.env.PATH }
  const database = sandbox.pg.database.replaceAll('_', '-')
  form = new RegExp(`^${database}-\\d{4}-\\d\\d-\\d\\dT\\d\\d-\\d\\d-\\d\\d\\.dump\\.gz$`)
  const table = 'CREATE TABLE lots AS SELECT i, md5(i::text) AS text FROM generate_series(1, 20000) i'
  await sandbox.pg.sql({ sql: `${table}; GRANT SELECT ON lots TO ${sandbox.pg.user}` })
})
after(() => sandbox?.stop())

beforeEach(async () => {
  await sandbox.s3.clearFaults()
  await sandbox.s3.clear()
  await sandbox.s3.clearRequests()
  await sandbox.telegram.clear()
})

const keys = async () => (await sandbox.s3.objects()).map(({ key }) => key)

/** The next requests of this kind are never answered. */
const stall = (operation) => sandbox.s3.fault({ operation, times: 0, action: { stall: {} } })

/** Resolves when the store is asked for the `count`th part; rejects when `ended`, which resolves with the run, comes first. */
function uploading(ended, count = 1) {
  const early = ended.then((how) => Promise.reject(new Error('it ended before it sent a part', { cause: how })))
  return Promise.race([sandbox.s3.waitForRequests({ operation: 'UploadPart', count }), early])
}

/** What must hold after every failure; `message` is what the chat was told, once. */
async function nothingRemains(message) {
  assert.deepEqual(await keys(), [])
  assert.deepEqual(await sandbox.s3.uploads(), [])
  const texts = (await sandbox.telegram.messages()).filter(({ delivered }) => delivered).map(({ text }) => text)
  assert.equal(texts.length, 1, texts.join('\n'))
  assert.match(texts[0], message)
}

describe('runBackup()', () => {
  it('stores a whole dump and resolves its report', async () => {
    const report = await heys.runBackup({ env })
    assert.deepEqual(Object.keys(report).sort(), [...REPORT].sort())
    assert.match(report.key, form)
    assert.deepEqual(
      [report.bucket, report.parts, report.deleted, report.refused, report.warnings, report.storageClass],
      [env.S3_BUCKET, 1, [], [], [], 'COLD'],
    )
    const [object] = await sandbox.s3.objects()
    assert.deepEqual([object.key, object.size, object.storageClass], [report.key, report.bytes, 'COLD'])
    const stored = await sandbox.s3.getObject({ key: report.key })
    assert.equal(createHash('sha256').update(stored).digest('hex'), report.sha256)
    const dump = gunzipSync(stored)
    assert.equal(dump.length, report.rawBytes)
    assert.equal(dump.subarray(0, 5).toString('latin1'), 'PGDMP')
    assert.ok(report.durationMs > 0 && report.durationMs < 60000)
    assert.match(report.serverVersion, /^\d+/)
    assert.match(report.pgDumpVersion, /^\d+/)
    assert.deepEqual(await sandbox.s3.uploads(), [])
  })

  it('tells how it goes on, in order', async () => {
    const database = sandbox.pg.database.replaceAll('_', '-')
    const old = [1, 2, 3, 4].map((day) => `nightly/${database}-2001-01-0${day}T03-00-00.dump.gz`)
    for (const key of old) await sandbox.s3.putObject({ key, body: 'old' })
    const events = []
    const report = await heys.runBackup({
      env,
      backupPrefix: 'nightly/',
      backupMinKeep: 3,
      onProgress: (event) => events.push(event),
    })
    const types = events.map(({ type }) => type)
    assert.deepEqual(
      types.filter((type, i) => type !== types[i - 1]),
      ['storeReady', 'databaseReady', 'dumping', 'completing', 'stored', 'pruned'],
    )
    const of = (type) => events.findLast((event) => event.type === type)
    assert.deepEqual(of('storeReady'), { type: 'storeReady', bucket: env.S3_BUCKET, key: report.key })
    assert.ok(report.key.startsWith(`nightly/${database}-2`))
    assert.match(of('databaseReady').host, new RegExp(`:${env.PG_PORT}\\b`))
    assert.ok(of('databaseReady').databaseBytes > 0)
    const { rawBytes, bytes, uploadedBytes } = of('dumping')
    assert.deepEqual([rawBytes, bytes], [report.rawBytes, report.bytes])
    assert.ok(uploadedBytes <= bytes)
    assert.equal(of('stored').bytes, report.bytes)
    assert.equal(of('pruned').deleted, 2)
    assert.deepEqual(report.deleted, old.slice(0, 2))
    assert.deepEqual(await keys(), [...old.slice(2), report.key])
  })

  it('reads the environment of the process when it is given none', async () => {
    const { error, report } = await inChild('', 'console.log(JSON.stringify(await heys.runBackup()))').ended
    assert.equal(error, '')
    assert.deepEqual(await keys(), [JSON.parse(report).key])
  })

  it('says which setting is missing', async () => {
    for (const name of ['S3_ACCESS_KEY_ID', 'S3_SECRET_ACCESS_KEY']) {
      await sandbox.telegram.clear()
      const error = await rejection(heys.runBackup({ env: { ...env, [name]: '' } }))
      assert.match(error.message, new RegExp(`${name}`))
      await nothingRemains(new RegExp(name))
    }
    assert.deepEqual(await sandbox.s3.requests(), [])
  })

  it('says which setting is wrong, and shows no secret', async () => {
    const wrong = [
      [{ s3Bucket: 'not-there' }, /there is no bucket not-there .*S3_BUCKET/],
      [{ s3SecretAccessKey: 'mistyped-secret' }, /S3_SECRET_ACCESS_KEY/],
      [{ pgPassword: 'mistyped-password' }, /PG_PASSWORD/],
      [{ pgDumpPath: '/not/there/pg_dump' }, /PG_DUMP_PATH|\/not\/there\/pg_dump/],
    ]
    for (const [options, message] of wrong) {
      await sandbox.telegram.clear()
      const error = await rejection(heys.runBackup({ env, ...options }))
      assert.match(error.message, message)
      const secrets = [env.S3_SECRET_ACCESS_KEY, env.PG_PASSWORD, 'mistyped-secret', 'mistyped-password']
      for (const secret of secrets) assert.ok(!error.message.includes(secret), error.message)
      await nothingRemains(message)
    }
  })

  it('refuses options that there are not', async () => {
    const unknown = await rejection(heys.runBackup({ env, bucket: 'x' }))
    assert.equal(`${unknown}`, 'TypeError: runBackup has no option bucket')
    const never = await rejection(heys.runBackup({ env, deadline: 'soon' }))
    assert.equal(never.name, 'TypeError')
    assert.deepEqual(await sandbox.s3.requests(), [])
  })

  it('can be cancelled by an AbortSignal, before and during its work', async () => {
    const early = await rejection(heys.runBackup({ env, signal: AbortSignal.abort() }))
    assert.match(early.message, /aborted by the caller/)
    await nothingRemains(/aborted by the caller/)
    await sandbox.telegram.clear()
    await stall('UploadPart')
    const controller = new AbortController()
    const failed = rejection(heys.runBackup({ env, signal: controller.signal }))
    await uploading(failed)
    controller.abort()
    assert.match((await failed).message, /aborted by the caller/)
    await nothingRemains(/aborted by the caller/)
  })

  it('is over before its deadline, whatever the store does', { timeout: 30000 }, async () => {
    for (const operation of ['CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload']) {
      await sandbox.telegram.clear()
      await stall(operation)
      const deadline = Date.now() + 4000
      const error = await rejection(heys.runBackup({ env, deadline }))
      assert.ok(Date.now() < deadline, operation)
      assert.match(error.message, /out of time: its deadline is near/)
      await nothingRemains(/out of time/)
      await sandbox.s3.clearFaults()
    }
  })

  it('aborts when the worker thread that asked for it is terminated', async () => {
    await stall('UploadPart')
    const worker = new Worker(
      `const { workerData: env } = require('worker_threads'); require(${HEYS}).runBackup({ env })`,
      { eval: true, workerData: env },
    )
    await uploading(once(worker, 'exit'))
    await worker.terminate()
    await sandbox.telegram.waitForMessages({ count: 1 })
    await nothingRemains(/the thread that asked for it has ended/)
  })
})

/** A program that runs backups; `ended` resolves how it ended and what it printed. */
function inChild(prelude, body) {
  const program = `const heys = require(${HEYS}); ${prelude}; (async () => { ${body} })()`
  const child = spawn(process.execPath, ['-e', program], { env })
  let [report, error] = ['', '']
  child.stdout.on('data', (chunk) => (report += chunk))
  child.stderr.on('data', (chunk) => (error += chunk))
  const ended = once(child, 'close').then(([code, signal]) => ({
    code,
    signal,
    report: report.trim(),
    error: error.trim(),
  }))
  return { kill: (signal) => child.kill(signal), ended }
}

describe('signals', () => {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    it(`${signal} cancels the run and then ends the process`, async () => {
      await stall('UploadPart')
      const child = inChild('', 'await heys.runBackup()')
      await uploading(child.ended)
      child.kill(signal)
      assert.deepEqual(await child.ended, { code: null, signal, report: '', error: '' })
      await nothingRemains(new RegExp(signal))
    })

    it(`${signal} cancels all runs before it ends the process`, async () => {
      await stall('UploadPart')
      const child = inChild(
        '',
        "await Promise.all(['a/', 'b/'].map((backupPrefix) => heys.runBackup({ backupPrefix })))",
      )
      await uploading(child.ended, 2)
      child.kill(signal)
      assert.equal((await child.ended).signal, signal)
      assert.deepEqual([await keys(), await sandbox.s3.uploads()], [[], []])
      assert.equal((await sandbox.telegram.messages()).length, 2)
    })

    for (const listen of ['on', 'once']) {
      it(`${signal} is the program's when it listens with ${listen}()`, async () => {
        await stall('UploadPart')
        const child = inChild(
          `process.${listen}('${signal}', () => console.log('heard'))`,
          `await heys.runBackup().catch((error) => console.log(error.message))
          console.log(process.listenerCount('${signal}'))`,
        )
        await uploading(child.ended)
        child.kill(signal)
        const { report, ...end } = await child.ended
        assert.deepEqual(end, { code: 0, signal: null, error: '' })
        const [heard, message, listeners] = report.split('\n')
        assert.deepEqual([heard, listeners], ['heard', listen === 'on' ? '1' : '0'])
        assert.match(message, new RegExp(signal))
        await nothingRemains(new RegExp(signal))
      })
    }
  }

  it('are left alone by a run that ends well', async () => {
    const mine = () => {}
    process.on('SIGINT', mine)
    try {
      const running = heys.runBackup({ env })
      assert.equal(process.listenerCount('SIGINT'), 2)
      await running
      assert.deepEqual([process.listeners('SIGINT'), process.listenerCount('SIGTERM')], [[mine], 0])
    } finally {
      process.removeListener('SIGINT', mine)
    }
  })
})

describe('the handler', () => {
  const METHODS = ['log', 'error']
  let saved
  let lines

  beforeEach(() => {
    saved = { env: { ...process.env }, methods: METHODS.map((name) => console[name]) }
    lines = []
    for (const name of METHODS) console[name] = (...parts) => lines.push(`${name} ${parts.join(' ')}`)
    Object.assign(process.env, env)
  })

  afterEach(() => {
    METHODS.forEach((name, i) => (console[name] = saved.methods[i]))
    for (const key of Object.keys(process.env)) if (!(key in saved.env)) delete process.env[key]
    Object.assign(process.env, saved.env)
  })

  const context = (millis) => ({ getRemainingTimeInMillis: () => millis })

  it('answers 200 with where the backup is', async () => {
    const { statusCode, headers, body } = await handler({}, context(600000))
    assert.deepEqual([statusCode, headers], [200, { 'Content-Type': 'application/json' }])
    const { success, s3Key, bucket, duration, ...more } = JSON.parse(body)
    assert.deepEqual([success, bucket, more], [true, env.S3_BUCKET, {}])
    assert.ok(duration > 0)
    assert.deepEqual(await keys(), [s3Key])
    const report = JSON.parse(/^log \[Backup\] (.*)$/.exec(lines.at(-1))[1])
    assert.equal(report.key, s3Key)
  })

  it('works without a context, as a timer of another platform calls it', async () => {
    assert.equal((await handler()).statusCode, 200)
    assert.equal((await keys()).length, 1)
  })

  it('answers 500 with the error', async () => {
    process.env.S3_BUCKET = 'not-there'
    const { statusCode, body } = await handler({}, context(600000))
    assert.equal(statusCode, 500)
    const { success, error, ...more } = JSON.parse(body)
    assert.deepEqual([success, more], [false, {}])
    assert.match(error, /there is no bucket not-there/)
    assert.deepEqual(lines, [`error [Backup] ERROR ${error}`])
    await nothingRemains(/not-there/)
  })

  it('answers within the time that the context leaves', { timeout: 30000 }, async () => {
    await stall('UploadPart')
    const begun = Date.now()
    const { statusCode, body } = await handler({}, context(4000))
    assert.ok(Date.now() - begun < 4000)
    assert.equal(statusCode, 500)
    assert.match(JSON.parse(body).error, /out of time: its deadline is near/)
    await nothingRemains(/out of time/)
  })

  it('leaves no process of pg_dump behind', { timeout: 30000 }, async () => {
    await stall('UploadPart')
    await handler({}, context(2000))
    const sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump'"
    await eventually(async () => (await sandbox.pg.sql({ sql })) === '0')
  })
})
