'use strict'

// One round of measurements in a process of its own: `node cases.js pg|heys SECONDS`, the server in HEYS_BENCH_PG as
// JSON. Prints one line of JSON: case → what was done in a second, and the CPU time that the process took for it.

const [provider, seconds] = process.argv.slice(2)
const { Pool } = provider === 'pg' ? require('pg') : require('../..')

const options = { ...JSON.parse(process.env.HEYS_BENCH_PG), max: 3 }
const BY_KEY = 'SELECT id, name, body FROM bench_key WHERE id = $1'
const ROWS = 'SELECT * FROM bench_rows'

const result = {}

/** Calls `work` until the time is over, and notes how many were done in a second and what each cost. */
async function measure(name, unit, callers, work) {
  const cpu = process.cpuUsage()
  const start = performance.now()
  const end = start + seconds * 1000
  let done = 0
  const caller = async (number) => {
    for (let i = number; performance.now() < end; i += callers) {
      await work(1 + (i % 1000))
      done++
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, number) => caller(number)))
  const { user, system } = process.cpuUsage(cpu)
  result[`${name} (${unit}/s)`] = done / ((performance.now() - start) / 1000)
  result[`${name}, client CPU (µs each)`] = (user + system) / done
}

async function main() {
  const pool = new Pool(options)
  const client = await pool.connect()
  const byKey = (id) => client.query(BY_KEY, [id])
  const warm = await client.query(ROWS)
  if (warm.rows.length !== 10000 || Object.keys(warm.rows[0]).length !== 10) throw new Error('wrong rows')
  for (let i = 0; i < 500; i++) await byKey(1)

  await measure('select by key, one caller', 'queries', 1, byKey)
  await measure('10,000 × 10 rows', 'results', 1, () => client.query(ROWS))
  client.release()
  await Promise.all(Array.from({ length: 64 }, () => pool.query(BY_KEY, [1])))
  await measure('64 callers, 3 connections', 'queries', 64, (id) => pool.query(BY_KEY, [id]))
  await pool.end()
  console.log(JSON.stringify(result))
}

main()
