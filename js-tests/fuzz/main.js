'use strict'

// npm run test:fuzz [-- CASES | --seed N | --from N]: random programs on pg and on heys-db; what they see must be the same.

const { parseArgs } = require('node:util')
const { settings } = require('../server-process')
const { differs, report } = require('.')

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seed: { type: 'string' }, from: { type: 'string' }, keep: { type: 'boolean' } },
  })
  const first = Number(values.seed ?? values.from ?? 1)
  const count = values.seed === undefined ? Number(positionals[0] ?? 20000) : 1
  if (!Number.isInteger(first) || !Number.isInteger(count))
    throw new Error('Usage: npm run test:fuzz -- [CASES] [--from SEED] [--seed SEED]')
  const server = await settings()
  const started = performance.now()
  let found = 0
  for (let seed = first; seed < first + count; seed++) {
    const difference = await differs(seed, server.settings)
    if (difference !== undefined) {
      found++
      console.log(`\n${report(difference)}`)
      if (!values.keep && found >= 10) break
    }
    const done = seed - first + 1
    if (done % 500 === 0)
      console.log(`${done} cases, ${found} differences, ${Math.round((performance.now() - started) / 1000)} s`)
  }
  console.log(`${count} cases from seed ${first}: ${found} differences`)
  await server.stop()
  process.exitCode = found === 0 ? 0 : 1
}

main()
