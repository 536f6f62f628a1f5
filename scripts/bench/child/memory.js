'use strict'

// What a process takes that has its pool open and has made some queries.

const { BY_KEY, order, adapter, memory, report, main } = require('./process')

const QUERIES = 100
const { driver, connection } = order

main(async () => {
  const db = adapter.open(adapter.load(driver), driver, connection)
  // As many at once as there are connections, long enough for all to be opened.
  const slow = db.prepare('SELECT pg_backend_pid() AS pid, pg_sleep(0.1)')
  const replies = await Promise.all(Array.from({ length: connection.max }, () => db.query(slow, [])))
  const pids = new Set(replies.map((rows) => rows[0].pid))
  if (pids.size !== connection.max) throw new Error(`${pids.size} connections, ${connection.max} wanted`)
  const byKey = db.prepare(BY_KEY)
  let rows
  for (let id = 1; id <= QUERIES; id++) rows = await db.query(byKey, [id])
  const measured = { rss: memory('VmRSS'), peak: memory('VmHWM') }
  const { keyRow, equal } = require('./work')
  equal(rows, 1, () => keyRow(QUERIES))
  report(measured)
})
