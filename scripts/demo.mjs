// npm run demo: what heys-db does, on servers of its own, in about a minute after the build. Ctrl-C stops everything.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { build } from './build.mjs'
import { beforeInterrupt, isInterrupted, must, root } from './lib/run.mjs'
import { bold, cyan, dim, done, duration, failed, green, note, section, size, step } from './lib/say.mjs'
import { setupOrExit } from './setup.mjs'

const require = createRequire(import.meta.url)
const CALLERS = 64
const CONNECTIONS = 3
const LOAD_MILLIS = 3000
const MARIA = 'a0000000-0000-4000-8000-000000000001'
const RESTORED = 'heys_restored'

let sandbox
let heys
const endings = []

async function stop() {
  const servers = sandbox
  sandbox = undefined
  // A pool whose queries were interrupted must not keep the servers from being stopped.
  await Promise.race([heys?.closePool().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 2000).unref())])
  for (const end of endings.splice(0)) await end()
  await servers?.stop()
}

beforeInterrupt(async (signal) => {
  console.log(`\n${signal}: stopping everything`)
  await stop()
})

async function servers() {
  section('Servers, on loopback')
  const { startSandbox } = require('../sandbox/client')
  sandbox = await step(
    ({ pg, s3, telegram }) =>
      `PostgreSQL on port ${pg.port} (TLS, SCRAM), object storage at ${s3.endpoint}, Telegram at ${telegram.apiBase}`,
    () => startSandbox({ postgres: true, s3: true, telegram: true }),
  )
  Object.assign(process.env, sandbox.env(), {
    POOL_MAX_SIZE: String(CONNECTIONS),
    HEYS_ENCRYPTION_KEY: 'demo',
    PAYMENT_WEBHOOK_SECRET: 'demo',
  })
}

async function data() {
  heys = require('..')
  const pool = heys.getPool()
  await step('schema, seed and 200,000 rows loaded through the pool', async () => {
    for (const file of ['schema.sql', 'seed.sql']) {
      await pool.query(readFileSync(path.join(root, 'examples/functions', file), 'utf8'))
    }
    await pool.query(
      `INSERT INTO client_kv (client_id, key, value)
       SELECT $1, 'key ' || n, jsonb_build_object('n', n, 'text', repeat(md5(n::text), 4))
       FROM generate_series(1, 200000) AS n`,
      [MARIA],
    )
  })
}

/** A payment provider for heys-api-payments; nothing else of the outside world is needed. */
async function provider() {
  const http = await import('node:http')
  const server = http.createServer((request, response) =>
    request.resume().on('end', () => response.end('{"id":"pay-1","confirmationUrl":"https://pay.example/1"}')),
  )
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  process.env.PAYMENT_API_BASE = `http://127.0.0.1:${server.address().port}`
  endings.push(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
}

async function functions() {
  section('The five functions, as deployed, answer events')
  await provider()
  const { load, call } = require('../examples/functions/test/layout')
  const loaded = {}
  const ask = async (name, method, url, options, what) => {
    loaded[name] ??= load(`heys-api-${name}`).handler
    await step(
      ({ statusCode, body }) => {
        const text = JSON.stringify(body)
        return `${name.padEnd(8)} ${method} ${url} → ${bold(statusCode)} ${dim(what ? what(body) : text.slice(0, 70))}`
      },
      () => call(loaded[name], method, url, options),
    )
  }
  const profile = { query: { fn: 'get_client_profile' }, body: { p_client_id: MARIA } }
  await ask('rpc', 'POST', '/rpc?fn=get_client_profile', profile, (body) => `${body.name}, ${body.weight} kg`)
  const spend = { query: { fn: 'spend_credits' }, body: { p_client_id: MARIA, p_amount: 99, p_reason: 'demo' } }
  await ask('rpc', 'POST', '/rpc?fn=spend_credits', spend)
  const days = { query: { client_id: `eq.${MARIA}`, kcal: 'gte.2100', order: 'day' } }
  await ask('rest', 'GET', '/days?kcal=gte.2100', days, (rows) => `${rows.length} days`)
  const login = { body: { email: 'anna@heys.example', password: 'correct horse' } }
  await ask('auth', 'POST', '/auth/login', login, (body) => `a session for ${body.name}`)
  const taken = { body: { email: 'anna@heys.example', password: 'long enough' } }
  await ask('auth', 'POST', '/auth/register', taken)
  await ask('leads', 'POST', '/leads', { body: { name: 'Пётр', phone: '+7 999 123-45-67' } })
  await ask('leads', 'POST', '/leads', { body: { name: 'Пётр', phone: '+7 999 123-45-67' } })
  await ask('payments', 'POST', '/payments/create', { body: { clientId: MARIA, plan: 'month' } })
  await ask('payments', 'GET', '/payments/health', {}, () => 'healthy')
}

async function load() {
  section(`${CALLERS} callers on ${CONNECTIONS} connections`)
  const pool = heys.getPool()
  const superuser = await connectSuperuser()
  endings.push(() => superuser.end())
  let most = 0
  let queries = 0
  let wrong = 0
  let running = true
  const watch = (async () => {
    while (running) most = Math.max(most, await connectionsSeen(superuser))
  })()
  const start = performance.now()
  const caller = async (number) => {
    for (let i = number; performance.now() - start < LOAD_MILLIS && !isInterrupted(); i += CALLERS) {
      const key = `key ${1 + (i % 200000)}`
      const { rows } = await pool.query('SELECT key, value FROM client_kv WHERE client_id = $1 AND key = $2', [
        MARIA,
        key,
      ])
      queries++
      if (rows.length !== 1 || rows[0].key !== key) wrong++
    }
  }
  let took
  const work = Promise.all(Array.from({ length: CALLERS }, (_, number) => caller(number))).finally(() => {
    running = false
    took = performance.now() - start
  })
  await Promise.all([work, watch])
  const rate = Math.round((queries / took) * 1000).toLocaleString('en')
  done(`${queries.toLocaleString('en')} queries, ${wrong} wrong answers, ${bold(rate)} a second`, took)
  done(`the server saw at most ${bold(most)} connections of the pool`)
  await step('closePool', () => heys.closePool())
  await step('the server sees none of them any more', async () => {
    while ((await connectionsSeen(superuser)) > 0);
  })
  if (wrong > 0 || most !== CONNECTIONS) throw new Error(`${wrong} wrong answers, ${most} connections`)
}

async function connectSuperuser() {
  const { user, password } = sandbox.pg.roles.superuser
  const { host, port, database } = sandbox.pg
  const ssl = sandbox.pg.ssl && { ca: readFileSync(sandbox.pg.caPath) }
  const client = new heys.Client({ host, port, database, user, password, ssl })
  await client.connect()
  return client
}

async function connectionsSeen(client) {
  const { rows } = await client.query(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = $1",
    [sandbox.pg.user],
  )
  return rows[0].n
}

/** A bar that redraws itself on a terminal; elsewhere one line at the end says enough. */
function progressBar(expected) {
  const width = 32
  return ({ rawBytes, bytes }) => {
    if (!process.stdout.isTTY || rawBytes === undefined) return
    const filled = Math.min(width, Math.round((rawBytes / expected) * width))
    const bar = cyan('█'.repeat(filled)) + dim('░'.repeat(width - filled))
    process.stdout.write(`\r  ${bar} ${size(rawBytes)} dumped, ${size(bytes ?? 0)} compressed  `)
  }
}

async function backup() {
  section('Backup')
  const { rows } = await heys.getPool().query('SELECT sum(pg_total_relation_size(oid))::bigint AS bytes FROM pg_class')
  const start = performance.now()
  const report = await heys.runBackup({ onProgress: progressBar(Number(rows[0].bytes) / 2) })
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K')
  done(`${report.bucket}/${bold(report.key)}`, performance.now() - start)
  note(
    `${size(report.rawBytes)} dumped, ${size(report.bytes)} stored in ${report.parts} part(s), sha256 ${report.sha256}`,
  )
  for (const warning of report.warnings) note(warning)
  await step(
    (objects) => {
      const lines = objects.map(
        ({ key, size: bytes, storageClass }) => `\n  ${key}  ${size(bytes)}  ${storageClass ?? ''}`,
      )
      return `the bucket lists ${objects.length} backup(s)${lines.join('')}`
    },
    () => sandbox.s3.objects(),
  )
  return report
}

function databaseEnv(database) {
  const { host, port, user, password } = sandbox.pg
  const tls = { PGSSLMODE: process.env.PG_SSLMODE, PGSSLROOTCERT: process.env.PG_SSLROOTCERT ?? '' }
  return { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password, PGDATABASE: database, ...tls }
}

async function restore({ key }) {
  section('Restore, with PostgreSQL’s own pg_restore, into a new database')
  await step(`database ${RESTORED} created`, () =>
    sandbox.pg.sql({ database: 'postgres', sql: `CREATE DATABASE ${RESTORED} OWNER ${sandbox.pg.user}` }),
  )
  const stored = await step(
    (bytes) => `${key} fetched (${size(bytes.length)})`,
    () => sandbox.s3.getObject({ key }),
  )
  await step('gunzip | pg_restore', async () => {
    const program = path.join(sandbox.pg.binDir, 'pg_restore')
    const args = ['--exit-on-error', '--no-owner', '--no-privileges', '--no-comments', '-d', RESTORED]
    const child = spawn(program, args, {
      env: { ...process.env, ...databaseEnv(RESTORED) },
      stdio: ['pipe', 'inherit', 'inherit'],
    })
    const ended = new Promise((resolve, reject) => child.once('error', reject).once('close', resolve))
    await pipeline(Readable.from([stored]), createGunzip(), child.stdin)
    const code = await ended
    if (code !== 0) throw new Error(`pg_restore ended with ${code}`)
  })
}

/** Row count and a checksum of all rows, for each table. */
async function contents(database) {
  const psql = path.join(sandbox.pg.binDir, 'psql')
  const sql = `SELECT format('SELECT %L, count(*), md5(string_agg(md5(t::text), '''' ORDER BY md5(t::text))) FROM %s AS t',
    c.oid::regclass::text, c.oid::regclass) FROM pg_class c WHERE c.relkind = 'r'
    AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname \\gexec`
  const options = { print: false, env: databaseEnv(database), input: sql }
  const output = await must(psql, ['-XAtq', '-v', 'ON_ERROR_STOP=1'], options)
  return output.trim().split('\n')
}

async function compare() {
  section('Comparison')
  const start = performance.now()
  const [before, after] = await Promise.all([contents(sandbox.pg.database), contents(RESTORED)])
  for (const [i, line] of before.entries()) {
    const [table, rows, checksum] = line.split('|')
    if (after[i] !== line) throw new Error(`${table} differs: ${line} before, ${after[i]} restored`)
    note(`${table.padEnd(16)} ${rows.padStart(7)} rows  ${checksum || '-'}`)
  }
  done(`all ${before.length} tables are equal, row by row`, performance.now() - start)
}

const start = performance.now()
try {
  section('Setup')
  await setupOrExit()
  done('everything needed is here', performance.now() - start)
  await build()
  await step('sandbox compiled', () => must('cargo', ['build', '--locked', '--workspace', '--bin', 'heys-sandbox']))
  const built = performance.now()

  await servers()
  await data()
  await functions()
  await load()
  const report = await backup()
  await restore(report)
  await compare()
  section('End')
  await step('everything stopped', stop)
  console.log(`\n${green(bold('All of it worked'))} in ${duration(performance.now() - built)} after the build.`)
} catch (error) {
  if (!isInterrupted()) {
    failed(error.stack)
    await stop()
    process.exitCode = 1
  }
}
