// One case: rounds in which every driver has its turn, each measurement in a process of its own. The order rotates from
// round to round, so that nobody always runs first, or after the same one.

import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { dim } from '../lib/say.mjs'
import { RESETS } from './data.mjs'
import { median, summary } from './statistics.mjs'

const CHILDREN = fileURLToPath(new URL('child', import.meta.url))

/** Milliseconds; longer than any measurement takes, whatever the flags say, on top of its own length. */
const PATIENCE = 60_000

/** Processes of a round, where one takes milliseconds. */
const SAMPLES = 5

/** Runs a file of child/ in the driver's runtime; resolves what it reports, and when it was started. */
async function child(bench, { regime }, driver, file, order) {
  const given = { driver: callOf(driver), ...order }
  const started = performance.timeOrigin + performance.now()
  const output = await bench.regimes.runClient(
    regime,
    driver.program ?? process.execPath,
    [path.join(CHILDREN, `${file}.js`)],
    {
      print: false,
      env: { HEYS_BENCH: JSON.stringify(given) },
      limit: PATIENCE + (bench.warmup + bench.seconds) * 1000,
    },
  )
  return { started, ...JSON.parse(output.trim().split('\n').at(-1)) }
}

/** Where the driver connects to, and how. Behind a pooler, drivers that name every statement must be told not to. */
const connectionOf = (bench, { pooler, tls, max }) => ({
  server: pooler ? bench.pooler : bench.server,
  tls: tls ? bench.tls : undefined,
  max,
  prepare: !pooler,
})

/** What a measuring process needs to know of its driver. */
const callOf = ({ module, adapter, options, named, native, unsafe }) => ({
  module,
  adapter,
  options,
  named,
  native,
  unsafe,
})

/** The order of a process that counts operations. */
const speedOrder = (bench, of) => ({
  connection: connectionOf(bench, of),
  work: of.work,
  callers: of.callers,
  seconds: bench.seconds,
  warmupSeconds: bench.warmup,
  behindPooler: of.pooler,
})

/** The whole order of such a process, for whoever starts it otherwise. */
export const orderOf = (bench, of, driver) => ({ driver: callOf(driver), ...speedOrder(bench, of) })

/** Several processes one after another; the median of each of their measures. */
async function sampled(take) {
  const samples = []
  for (let i = 0; i < SAMPLES; i++) samples.push(await take())
  return Object.fromEntries(Object.keys(samples[0]).map((name) => [name, median(samples.map((it) => it[name]))]))
}

/** Kind of case → one driver's measures of one round. Times in milliseconds, CPU in microseconds, memory in kilobytes. */
const KINDS = {
  speed: (bench, of, driver) => child(bench, of, driver, 'speed', speedOrder(bench, of)),

  /** An empty process of the same runtime, run in turn, is taken off. */
  connect: (bench, of, driver) =>
    sampled(async () => {
      const empty = await child(bench, of, driver, 'empty')
      const first = await child(bench, of, driver, 'first-row', { connection: connectionOf(bench, of) })
      const base = empty.at - empty.started
      const { at, started, inside, cpu, peak } = first
      return { time: at - started - base, inside, cpu: cpu - empty.cpu, peak, empty: base }
    }),

  require: (bench, of, driver) => sampled(() => child(bench, of, driver, 'require')),

  async memory(bench, of, driver) {
    const { rss: empty } = await child(bench, of, driver, 'empty')
    const { rss, peak } = await child(bench, of, driver, 'memory', { connection: connectionOf(bench, of) })
    return { rss, peak, empty }
  },
}

/** On a terminal, what is running; a line that the next one overwrites. */
function progress(text) {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text && `  ${dim(text)}`}`)
}

/**
 * Resolves driver → measure → summary over the rounds. `bench`: `regimes`, `resetSql(sql)`, `server`, `pooler`, `tls`
 * (what a driver needs to reach them), `rounds`, `warmup` and `seconds` (of a measurement that counts operations).
 */
export async function measureCase(bench, of, drivers) {
  await bench.regimes.applyToServer(of.regime)
  const measured = new Map(drivers.map(({ name }) => [name, []]))
  for (let round = 0; round < bench.rounds; round++) {
    const first = round % drivers.length
    for (const driver of [...drivers.slice(first), ...drivers.slice(0, first)]) {
      progress(`round ${round + 1} of ${bench.rounds}: ${driver.label}`)
      if (RESETS[of.work]) await bench.resetSql(RESETS[of.work])
      const { started: _, ...values } = await KINDS[of.kind](bench, of, driver).catch((error) => {
        progress('')
        throw new Error(`${driver.label}, ${of.title}: ${error.message}`)
      })
      measured.get(driver.name).push(values)
    }
  }
  progress('')
  return Object.fromEntries(
    Array.from(measured, ([name, rounds]) => [
      name,
      Object.fromEntries(Object.keys(rounds[0]).map((measure) => [measure, summary(rounds.map((it) => it[measure]))])),
    ]),
  )
}
