'use strict'

// How many operations in a second, by so many callers, each of which awaits its own before the next.

const { order, adapter, cpuMicros, memory, report, main } = require('./process')
const { WORK, checkTls } = require('./work')

const { driver, connection, work: name, callers, seconds, warmupSeconds, behindPooler } = order

/** Calls `op` with 0, 1, 2, … counted over all phases, until the time is over. */
async function phase(op, start, length, latencies) {
  const begun = performance.now()
  const end = begun + length * 1000
  let next = start
  const caller = async () => {
    for (let from = performance.now(); from < end;) {
      await op(next++)
      const to = performance.now()
      if (latencies !== undefined) latencies.push(to - from)
      from = to
    }
  }
  const cpu = cpuMicros()
  await Promise.all(Array.from({ length: callers }, caller))
  return { next, done: next - start, seconds: (performance.now() - begun) / 1000, cpuMicros: cpuMicros() - cpu }
}

function percentile(sorted, part) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]
}

main(async () => {
  const db = adapter.open(adapter.load(driver), driver, connection)
  const { op, check } = WORK[name](db)
  await check(0)
  // A pooler's own connection to the server is not the driver's.
  if (!behindPooler) await checkTls(db, connection.tls !== undefined)

  const warm = await phase(op, 0, warmupSeconds)
  const latencies = callers > 1 ? [] : undefined
  const { next, done, ...spent } = await phase(op, warm.next, seconds, latencies)
  const peak = memory('VmHWM')
  await check(next)

  const measured = { speed: done / spent.seconds, cpu: spent.cpuMicros / done, peak }
  if (latencies !== undefined) {
    latencies.sort((a, b) => a - b)
    Object.assign(measured, { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99) })
  }
  report(measured)
})
