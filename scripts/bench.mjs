// npm run bench: heys-db against pg on one server, in turns, each round in a process of its own; the median of all
// rounds as a Markdown table. `npm run bench -- SECONDS ROUNDS` (3 and 3).

import { createRequire } from 'node:module'
import { cpus } from 'node:os'
import path from 'node:path'
import { build } from './build.mjs'
import { must, root } from './lib/run.mjs'
import { section, step } from './lib/say.mjs'
import { setupOrExit } from './setup.mjs'

const require = createRequire(import.meta.url)
const [seconds = '3', rounds = '3'] = process.argv.slice(2)

const DATA = `
  CREATE TABLE bench_key (id int PRIMARY KEY, name text, body jsonb);
  INSERT INTO bench_key SELECT n, 'name ' || n, jsonb_build_object('n', n) FROM generate_series(1, 1000) AS n;
  CREATE TABLE bench_rows AS SELECT n AS id, n * 7 AS count, n % 2 = 0 AS even, 'name ' || n AS name, md5(n::text) AS hash,
    n / 3.0::float8 AS third, n::bigint * 1000000 AS big, TIMESTAMPTZ '2025-01-01' + n * INTERVAL '1 minute' AS at,
    CASE WHEN n % 10 = 0 THEN NULL ELSE 'note ' || n END AS note, n % 100 AS percent
  FROM generate_series(1, 10000) AS n;
  ANALYZE;`

const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
const short = (number) => number.toLocaleString('en', { maximumFractionDigits: number < 100 ? 1 : 0 })

await setupOrExit()
await build()
await must('cargo', ['build', '--locked', '-p', 'heys-sandbox'])
const { startSandbox } = require('../sandbox/client')
const sandbox = await startSandbox({ postgres: true })
const measured = { pg: [], heys: [] }
try {
  const { host, port, user, password, database } = sandbox.pg
  await sandbox.pg.sql({ sql: `${DATA} GRANT SELECT ON bench_key, bench_rows TO ${user};` })
  const env = { HEYS_BENCH_PG: JSON.stringify({ host, port, user, password, database }) }
  section(`Measuring, ${rounds} rounds of ${seconds} s a case`)
  for (let round = 1; round <= Number(rounds); round++) {
    for (const provider of ['pg', 'heys']) {
      const args = [path.join(root, 'scripts/bench/cases.js'), provider, seconds]
      const line = await step(`${provider}, round ${round}`, () => must(process.execPath, args, { print: false, env }))
      measured[provider].push(JSON.parse(line.trim().split('\n').at(-1)))
    }
  }
} finally {
  await sandbox.stop()
}

const { version } = require('pg/package.json')
console.log(`\nNode ${process.version}, ${cpus().length} cores, client and server on one machine, plain TCP.\n`)
console.log(`| | pg ${version} | heys-db | |\n|---|---:|---:|---:|`)
for (const name of Object.keys(measured.pg[0])) {
  const [theirs, ours] = ['pg', 'heys'].map((provider) => median(measured[provider].map((round) => round[name])))
  console.log(`| ${name} | ${short(theirs)} | ${short(ours)} | ${(ours / theirs).toFixed(2)}× |`)
}
