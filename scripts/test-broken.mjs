// npm run test:broken: breaks heys-db in one place after another (js-tests/broken/faults.js) and runs the tests that must
// notice. A fault that no test notices is a failure. Words choose faults whose name contains them.

import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { root, run } from './lib/run.mjs'
import { done, failed, note, section } from './lib/say.mjs'

const { faults } = createRequire(import.meta.url)('../js-tests/broken/faults.js')
const LIMIT = 120_000
/** Test runs side by side; each mostly waits for its own server. */
const AT_ONCE = 3

async function isNoticed({ name, test }) {
  const inject = path.join(root, 'js-tests/broken/inject.js')
  const env = { ...process.env, HEYS_PROVIDER: 'heys', HEYS_FAULT: name, NODE_OPTIONS: `--require ${inject}` }
  const file = path.join('js-tests', `${test}.test.js`)
  const { code, output } = await run(
    process.execPath,
    ['--test', '--test-reporter=tap', '--test-timeout=20000', file],
    { env, print: false, limit: LIMIT },
  )
  if (/The fault "|There is no fault/.test(output))
    return { noticed: false, why: /.*(The fault "|There is no fault).*/.exec(output)[0] }
  return { noticed: code !== 0, why: `${file} passes` }
}

/** Tries these faults, all without. Resolves { name, failure? } of each. */
export async function testBroken(chosen = faults) {
  const names = chosen.map(({ name }) => name)
  if (new Set(names).size < names.length) throw new Error('two faults have the same name')
  const left = [...chosen]
  const results = []
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const start = performance.now()
      const { noticed, why } = await isNoticed(next)
      results.push(noticed ? { name: next.name } : { name: next.name, failure: why })
      if (noticed) done(next.name, performance.now() - start)
      else {
        failed(`not noticed: ${next.name}`)
        note(why)
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return results
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  section('Faults that must be noticed')
  const words = process.argv.slice(2)
  const chosen = faults.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)))
  const results = await testBroken(chosen)
  const bad = results.filter(({ failure }) => failure !== undefined)
  console.log(`${results.length - bad.length} passed, ${bad.length} failed, 0 skipped`)
  process.exitCode = bad.length > 0 || results.length === 0 ? 1 : 0
}
