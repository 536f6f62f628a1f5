'use strict'

// What every measuring process does the same way. Its order comes as JSON in HEYS_BENCH; one line of JSON goes back.
// Nothing is required here at the start: the processes that measure a start would pay for it.

const order = JSON.parse(process.env.HEYS_BENCH)
const adapter = require(`../drivers/${order.driver.adapter}.js`)

/** The query of most cases. */
const BY_KEY = 'SELECT id, name, body FROM bench_key WHERE id = $1'

/** On a clock that all processes of the machine share, in milliseconds. */
const now = () => performance.timeOrigin + performance.now()

/** User and system time of all threads, in microseconds. */
function cpuMicros() {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** VmRSS or VmHWM (the peak), in kilobytes. */
function memory(field) {
  const status = require('node:fs').readFileSync('/proc/self/status', 'utf8')
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)[1])
}

/** Ends the process, whatever the driver has open. */
function report(measured) {
  require('node:fs').writeSync(1, `${JSON.stringify(measured)}\n`)
  process.exit(0)
}

/** Runs `work`; a failure ends the process with code 1. */
function main(work) {
  work().catch((error) => {
    console.error(error)
    process.exit(1)
  })
}

module.exports = { BY_KEY, order, adapter, now, cpuMicros, memory, report, main }
