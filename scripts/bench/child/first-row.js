'use strict'

// Connect and first query, from nothing: when the first row was there, and how long that took inside the process.

const { BY_KEY, order, adapter, now, cpuMicros, memory, report, main } = require('./process')

const { driver, connection } = order

main(async () => {
  const begun = performance.now()
  const db = adapter.open(adapter.load(driver), driver, connection)
  const rows = await db.query(db.prepare(BY_KEY), [1])
  const measured = { at: now(), inside: performance.now() - begun, cpu: cpuMicros(), peak: memory('VmHWM') }
  const { keyRow, equal, checkTls } = require('./work')
  equal(rows, 1, () => keyRow(1))
  await checkTls(db, false)
  report(measured)
})
