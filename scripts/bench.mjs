// npm run bench: heys-db, pg, pg-native, postgres.js and Bun's SQL on one server, in turns, each measurement in a process
// of its own. Tables on the terminal, the numbers in target/bench.json. `npm run bench -- --help` has the flags.

import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus } from 'node:os'
import path from 'node:path'
import { CASES, titleOf } from './bench/cases.mjs'
import { SETTINGS, setupFor } from './bench/data.mjs'
import { draw } from './bench/draw.mjs'
import { driversOf } from './bench/drivers.mjs'
import { optionsOrExit } from './bench/options.mjs'
import { profile } from './bench/profile.mjs'
import { withPeers } from './bench/peers.mjs'
import { Regimes } from './bench/regimes.mjs'
import { pooled } from './bench/pooled.mjs'
import { goalsTable, report } from './bench/report.mjs'
import { measureCase } from './bench/rounds.mjs'
import { addon, build } from './build.mjs'
import { beforeInterrupt, isInterrupted, must, root, targetDir } from './lib/run.mjs'
import { note, section, step } from './lib/say.mjs'
import { setupOrExit } from './setup.mjs'

const require = createRequire(import.meta.url)
const options = optionsOrExit(process.argv.slice(2))

/** What must be stopped, the last first. */
const endings = []

async function stop() {
  for (const end of endings.splice(0).reverse()) await end()
}

beforeInterrupt(stop)

async function prepare() {
  if (!options.build) return
  await setupOrExit()
  await build()
  await must('cargo', ['build', '--locked', '--workspace', '--bin', 'heys-sandbox'])
}

/** PostgreSQL with the tables of the cases, and PgBouncer before it where one is asked for. */
async function servers() {
  const { startSandbox } = require('../sandbox/client')
  const sandbox = await step('PostgreSQL started', () => startSandbox({ postgres: { settings: SETTINGS } }))
  endings.push(() => sandbox.stop())
  const { host, port, user, password, database, ca, caPath } = sandbox.pg
  const server = { host, port, user, password, database }
  await step('tables filled', () => sandbox.pg.sql({ sql: setupFor(user) }))
  let pooler
  if (options.cases.some((of) => of.pooler)) {
    const { startPgBouncer } = require('../js-tests/pgbouncer')
    const started = await step('PgBouncer started', () => startPgBouncer(server, 'transaction'))
    endings.push(() => started.stop())
    pooler = started.settings
  }
  return {
    regimes: new Regimes(sandbox.pid),
    server,
    pooler,
    tls: { ca, caPath },
    postgres: await sandbox.pg.sql({ sql: 'SHOW server_version' }),
    resetSql: (sql) => sandbox.pg.sql({ sql }),
  }
}

async function measure() {
  await prepare()
  section('Drivers and servers')
  const { drivers, leftOut } = await withPeers(options.drivers)
  const { rounds, warmup, seconds } = options
  const bench = { ...(await servers()), rounds, warmup, seconds }
  if (options.profile) return profileFirst(bench, drivers)

  section(`Measuring, ${rounds} rounds`)
  const cases = []
  for (const of of options.cases) {
    const chosen = driversOf(of, drivers)
    if (chosen.drivers.length === 0) continue
    const what = `${titleOf(of)}: ${chosen.drivers.length} drivers`
    const measured = await step(what, () => measureCase(bench, of, chosen.drivers))
    const { key, regime, title, kind } = of
    cases.push({ key, regime, title, kind, drivers: measured, leftOut: chosen.leftOut })
  }
  return {
    date: new Date().toISOString(),
    machine: {
      node: process.versions.node,
      postgres: bench.postgres.split(' ')[0],
      cores: cpus().length,
      cpu: cpus()[0].model,
    },
    rounds,
    warmup,
    seconds,
    versions: Object.fromEntries(drivers.map(({ name, version }) => [name, version])),
    addonBytes: statSync(addon).size,
    leftOut,
    cases,
  }
}

/** Instead of measuring. */
async function profileFirst(bench, drivers) {
  const of = options.cases.find(({ kind }) => kind === 'speed')
  const [driver] = of === undefined ? [] : driversOf(of, drivers).drivers
  if (driver === undefined || driver.runtime) throw new Error('--profile takes a case that counts operations, on Node')
  // The package's addon has its names beside the one that was built.
  const built = driver.peer === 'heys' ? { ...driver, module: root } : driver
  const told = await step(`profile of ${driver.label}: ${titleOf(of)}`, () => profile(bench, of, built))
  console.log(`\n${told}`)
}

/** Six digits are more than any of these numbers is worth. */
function toJson(result) {
  const digits = (_, value) =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value
  return `${JSON.stringify(result, digits, 2)}\n`
}

function save(result) {
  const file = path.resolve(options.json ?? path.join(targetDir, 'bench.json'))
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, toJson(result))
  return file
}

/** Numbers and picture to where docs/performance.md shows them. */
async function publish(file, result) {
  if (result.cases.length !== CASES.length) throw new Error('What is published holds every case')
  const at = (name) => path.join(root, 'docs', name)
  copyFileSync(file, at('performance.json'))
  await must(path.join(root, 'node_modules/.bin/prettier'), ['--write', at('performance.json')], { print: false })
  writeFileSync(at('performance.svg'), draw(result))
}

async function main() {
  const read = options.read?.map((file) => JSON.parse(readFileSync(file, 'utf8')))
  const result = read ? pooled(read) : await measure()
  if (result === undefined) return
  console.log(`\n${report(result)}`)
  if (options.goals) console.log(`\n### Goals\n\n${goalsTable(result)}`)
  const file = read?.length === 1 ? options.read[0] : save(result)
  if (!read) note(`numbers in ${path.relative(root, file)}`)
  if (options.publish) await step('docs/performance.json and docs/performance.svg written', () => publish(file, result))
}

try {
  await main()
} catch (error) {
  // What an interrupt ended has failed; the process ends with it.
  if (isInterrupted()) await new Promise(() => {})
  console.error(error.message)
  process.exitCode = 1
} finally {
  await stop()
}
