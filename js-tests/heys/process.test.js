'use strict'

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { describe, it } = require('node:test')
const { environment, settings } = require('../server')

const HEYS = JSON.stringify(require.resolve('../..'))

/** Runs a program; resolves what it printed, how it ended and how long it took. */
async function run(body, { env = {}, prelude = '' } = {}) {
  const program = `${prelude}
    const heys = require(${HEYS})
    const target = ${JSON.stringify(await settings())}
    async function main() { ${body} }
    main().catch((error) => { console.log('FAILED', error); process.exitCode = 1 })`
  const started = Date.now()
  const child = spawn(process.execPath, ['-e', program], { env: { ...process.env, ...(await environment()), ...env } })
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (printed += chunk))
  const timer = setTimeout(() => child.kill('SIGKILL'), 20000)
  const [code, signal] = await new Promise((resolve) => child.on('close', (...end) => resolve(end)))
  clearTimeout(timer)
  return { printed: printed.trim(), code, signal, millis: Date.now() - started }
}

function ended(outcome, printed) {
  assert.deepEqual({ ...outcome, millis: 0 }, { printed, code: 0, signal: null, millis: 0 })
}

describe('the process', () => {
  it('ends by itself with getPool(), though connections are idle', async () => {
    const outcome = await run("console.log((await heys.getPool().query('SELECT 1 AS a')).rows[0].a)")
    ended(outcome, '[DB-Pool] Pool initialized with max: 3\n1')
    assert.ok(outcome.millis < 5000, `${outcome.millis} ms`)
  })

  it('ends by itself with allowExitOnIdle, also after a checked-out client came back', async () => {
    const outcome = await run(`
      const pool = new heys.Pool({ ...target, allowExitOnIdle: true })
      const client = await pool.connect()
      await client.query('SELECT 1')
      client.release()
      const again = await pool.connect()
      console.log((await again.query('SELECT pg_sleep(0.2), 2 AS a')).rows[0].a)
      again.release()`)
    ended(outcome, '2')
    assert.ok(outcome.millis < 5000, `${outcome.millis} ms`)
  })

  it('lives until the idle clients are gone without it', async () => {
    const outcome = await run(`
      const pool = new heys.Pool({ ...target, idleTimeoutMillis: 700 })
      await pool.query('SELECT 1')
      pool.on('remove', () => console.log('removed'))`)
    ended(outcome, 'removed')
    assert.ok(outcome.millis >= 700)
  })

  it('stays for a query under way, and for a connection being made', async () => {
    ended(
      await run("heys.getPool().query('SELECT pg_sleep(0.3), 3 AS a').then(({ rows }) => console.log(rows[0].a))"),
      '[DB-Pool] Pool initialized with max: 3\n3',
    )
  })

  it('stays while the only connection, idle for too long, is replaced', async () => {
    const outcome = await run(`
      const pool = new heys.Pool({ ...target, max: 1, idleTimeoutMillis: 20, allowExitOnIdle: true })
      const pid = () => pool.query('SELECT pg_backend_pid() AS pid').then(({ rows }) => rows[0].pid)
      const first = await pid()
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60)
      console.log((await pid()) === first)`)
    ended(outcome, 'false')
  })

  it('awaits the end of a pool, though its clients are idle', async () => {
    ended(
      await run("await heys.getPool().query('SELECT 1'); await heys.closePool(); console.log('closed')"),
      '[DB-Pool] Pool initialized with max: 3\nclosed',
    )
  })

  it('awaits the end of a pool, though its last client was closed before and waits for the server', async () => {
    const outcome = await run(`
      const pool = new heys.Pool({ ...target, max: 1, idleTimeoutMillis: 20, allowExitOnIdle: true })
      await pool.query('SELECT 1')
      const removed = new Promise((resolve) => pool.once('remove', resolve))
      while (pool.totalCount > 0) await new Promise((resolve) => setTimeout(resolve, 1))
      await pool.end()
      await removed
      console.log('ended')`)
    ended(outcome, 'ended')
  })

  it('does not load the addon or read the environment at require', async () => {
    const outcome = await run("console.log(Object.keys(heys).length > 20, 'getPool' in heys)", {
      env: { HEYS_ADDON: '/nonexistent/addon.node' },
    })
    ended(outcome, 'true true')
    const missing = await run('console.log(await new heys.Client(target).connect().catch((error) => error.code))', {
      env: { HEYS_ADDON: '/nonexistent/addon.node' },
    })
    ended(missing, 'HEYS_ADDON_BROKEN')
  })
})

const inWorker = (body) => `
  const { Worker } = require('worker_threads')
  const source = 'const heys = require(' + ${JSON.stringify(HEYS)} + '); const target = ' + JSON.stringify(target) +
    '; const { parentPort } = require("worker_threads"); (async () => {' + ${JSON.stringify(body)} + '})()'
  const start = () => new Worker(source, { eval: true })
  const said = (worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))`

describe('worker threads', () => {
  const busy = `
    const pool = new heys.Pool({ ...target, max: 2 })
    await pool.query('SELECT 1')
    for (let i = 0; i < 4; i++) pool.query('SELECT pg_sleep(30)').catch(() => {})
    parentPort.postMessage((await new heys.Pool(target).query('SELECT 5 AS a')).rows[0].a)`

  it('that are terminated while busy never abort the process, when the addon was first loaded in one', async () => {
    const outcome = await run(`${inWorker(busy)}
      for (let i = 0; i < 5; i++) {
        const worker = start()
        console.log(await said(worker))
        await worker.terminate()
      }
      const pool = new heys.Pool(target)
      console.log((await pool.query('SELECT 6 AS a')).rows[0].a)
      await pool.end()`)
    ended(outcome, '5\n5\n5\n5\n5\n6')
  })

  it('that are terminated while connecting never abort the process', async () => {
    const connecting = `
      const pool = new heys.Pool({ ...target, max: 5 })
      for (let i = 0; i < 5; i++) pool.query('SELECT 1').catch(() => {})
      parentPort.postMessage('connecting')`
    const outcome = await run(`${inWorker(connecting)}
      for (let i = 0; i < 5; i++) {
        const worker = start()
        await said(worker)
        await worker.terminate()
      }
      console.log('alive')`)
    ended(outcome, 'alive')
  })

  it('work side by side with the main thread', async () => {
    const one =
      "const pool = new heys.Pool(target); parentPort.postMessage((await pool.query('SELECT 7 AS a')).rows[0].a); await pool.end()"
    const outcome = await run(`${inWorker(one)}
      const pool = new heys.Pool(target)
      const [here, ...there] = await Promise.all([pool.query('SELECT 8 AS a'), ...[1, 2, 3].map(() => said(start()))])
      console.log(here.rows[0].a, there.join())
      await pool.end()`)
    ended(outcome, '8 7,7,7')
  })
})

describe('ES modules', () => {
  it('import every name', async () => {
    const outcome = await run(`
      const all = await import(${JSON.stringify(require.resolve('../../node-binding/js/index.mjs'))})
      const names = Object.keys(heys).filter((name) => !name.startsWith('_'))
      console.log(names.filter((name) => all[name] !== heys[name]).join(), all.default === heys, heys.native)`)
    ended(outcome, 'true null')
  })
})
