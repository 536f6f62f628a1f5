// npm test: sets up, builds, checks and tests everything, and closes with `N passed, N failed, N skipped`.
//
// `npm test -- SECTION…` runs some of: lint, rust, guards, js, functions, c, package, docs; and speed, ecosystem, runtimes,
// broken and big, which take minutes and disk space and run only when they are named or `all` is. A section that fails
// does not keep the others from running.

import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { build } from './build.mjs'
import { root, run } from './lib/run.mjs'
import { bold, dim, done, duration, failed, green, red, section } from './lib/say.mjs'
import { setupOrExit } from './setup.mjs'
import { testC } from './test-c.mjs'
import { tellGuards, testGuards } from './test-guards.mjs'

const MINUTE = 60_000
/** Whatever hangs is killed and counts as failed. */
const LIMIT = 30 * MINUTE

const total = { passed: 0, failed: 0, skipped: 0 }
const problems = []

function count(passed, failures, skipped = 0) {
  total.passed += passed
  total.failed += failures
  total.skipped += skipped
}

/** A command that counts as one test. Its output is shown only when it fails. */
async function check(name, program, args, options = {}) {
  const start = performance.now()
  const { code, output } = await run(program, args, { print: false, limit: LIMIT, ...options })
  if (code === 0) {
    done(name, performance.now() - start)
    count(1, 0)
    return
  }
  failed(name)
  console.log(output.trimEnd())
  problems.push(name)
  count(0, 1)
}

/** A runner whose own counts are added; one that fails without a count is one failure. */
async function runner(name, program, args, read, options = {}) {
  console.log(bold(name))
  const start = performance.now()
  const { code, output, timedOut } = await run(program, args, { limit: LIMIT, ...options })
  const counts = read(output)
  if (timedOut) console.log(red(`${name} took longer than ${duration(LIMIT)} and was killed`))
  if (code !== 0 && counts[1] === 0) counts[1] = 1
  if (code === 0 && counts[0] === 0) {
    console.log(red(`${name} ran no test`))
    counts[1] = 1
  }
  count(...counts)
  if (counts[1] > 0) problems.push(name)
  const [passed, failures, skipped] = counts
  console.log(
    dim(`${name}: ${passed} passed, ${failures} failed, ${skipped} skipped (${duration(performance.now() - start)})`),
  )
}

/** cargo test prints one `test result:` line for each binary. */
function rustCounts(output) {
  const counts = [0, 0, 0]
  for (const line of output.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm)) {
    for (let i = 0; i < 3; i++) counts[i] += Number(line[i + 1])
  }
  return counts
}

function testFiles(folder) {
  const full = path.join(root, folder)
  if (!existsSync(full)) return []
  return readdirSync(full, { recursive: true })
    .filter((file) => /\.test\.(js|mjs)$/.test(file) && !file.includes('node_modules'))
    .sort()
    .map((file) => path.join(folder, file))
}

/** node --test, its counts read from a TAP file beside the printed output. */
async function nodeTests(name, files, env = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'heys-test-'))
  const tap = path.join(folder, 'tap')
  const reporters = ['--test-reporter=spec', '--test-reporter-destination=stdout']
  reporters.push('--test-reporter=tap', `--test-reporter-destination=${tap}`)
  const counts = () => {
    const text = existsSync(tap) ? readFileSync(tap, 'utf8') : ''
    const number = (word) => Number(new RegExp(`^# ${word} (\\d+)$`, 'm').exec(text)?.[1] ?? 0)
    return [number('pass'), number('fail') + number('cancelled'), number('skipped') + number('todo')]
  }
  try {
    await runner(name, process.execPath, ['--test', ...reporters, ...files], counts, { env })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const bin = (name) => path.join(root, 'node_modules/.bin', name)

const SECTIONS = {
  async lint() {
    await check('cargo fmt', 'cargo', ['fmt', '--all', '--check'])
    await check('clippy', 'cargo', ['clippy', '--locked', '--workspace', '--all-targets', '--', '-D', 'warnings'])
    const rustdoc = { env: { RUSTDOCFLAGS: '-D warnings' } }
    await check('rustdoc', 'cargo', ['doc', '--locked', '--workspace', '--no-deps'], rustdoc)
    await check('eslint', bin('eslint'), ['--max-warnings=0', '.'])
    await check('prettier', bin('prettier'), ['--check', '--log-level=warn', '.'])
    await check('types', bin('tsc'), ['--project', 'tsconfig.json'])
    await nodeTests('rooms, licences, scripts', testFiles('scripts/test'))
  },
  async rust() {
    await runner('cargo test', 'cargo', ['test', '--locked', '--workspace', '--no-fail-fast'], rustCounts)
  },
  async guards() {
    const found = await testGuards()
    const exceeded = tellGuards(found)
    problems.push(...exceeded)
    count(found.results.length - exceeded.length, exceeded.length)
  },
  async js() {
    const files = testFiles('js-tests')
    const shared = files.filter((file) => !file.startsWith(path.join('js-tests', 'heys')))
    await nodeTests('js-tests on heys-db', files, { HEYS_PROVIDER: 'heys' })
    // What heys-db alone promises is in js-tests/heys; fails-on-pg.test.js there sees that it fails on pg.
    await nodeTests('js-tests on pg', shared, { HEYS_PROVIDER: 'pg' })
  },
  async speed() {
    const shared = testFiles('js-tests').filter((file) => !file.startsWith(path.join('js-tests', 'heys')))
    for (const [words, HEYS_SPEED] of [
      ['on', 'all'],
      ['off', 'none'],
    ]) {
      await nodeTests(`js-tests with every feature of speed ${words}`, shared, { HEYS_PROVIDER: 'heys', HEYS_SPEED })
    }
  },
  async functions() {
    for (const provider of ['heys', 'pg']) {
      await nodeTests(`example functions on ${provider}`, testFiles('examples/functions'), { HEYS_PROVIDER: provider })
    }
    for (const mode of ['session', 'transaction']) {
      const env = { HEYS_PROVIDER: 'heys', HEYS_TEST_POOLER: mode }
      await nodeTests(`example functions through PgBouncer in ${mode} mode`, testFiles('examples/functions'), env)
    }
  },
  async c() {
    for (const { name, code, output, milliseconds } of await testC()) {
      if (code === 0) done(name, milliseconds)
      else {
        failed(name)
        console.log(output.trimEnd())
        problems.push(name)
      }
      count(code === 0 ? 1 : 0, code === 0 ? 0 : 1)
    }
  },
  async package() {
    await nodeTests('packages', testFiles('scripts/package'))
  },
  async docs() {
    await nodeTests('documents', testFiles('scripts/docs'))
  },
  async ecosystem() {
    const { testEcosystem } = await import('./test-ecosystem.mjs')
    for (const { name, failure } of await testEcosystem()) {
      if (failure !== undefined) problems.push(name)
      count(failure === undefined ? 1 : 0, failure === undefined ? 0 : 1)
    }
  },
  async runtimes() {
    const { testRuntimes } = await import('./test-runtimes.mjs')
    for (const { name, failure } of await testRuntimes()) {
      if (failure !== undefined) problems.push(name)
      count(failure === undefined ? 1 : 0, failure === undefined ? 0 : 1)
    }
  },
  async broken() {
    const { testBroken } = await import('./test-broken.mjs')
    for (const { name, failure } of await testBroken()) {
      if (failure !== undefined) problems.push(`not noticed: ${name}`)
      count(failure === undefined ? 1 : 0, failure === undefined ? 0 : 1)
    }
  },
  async big() {
    await nodeTests('backup and COPY of 1 GB', testFiles('scripts/big'))
  },
}

/** Not part of a plain `npm test`. */
const LONG = ['speed', 'ecosystem', 'runtimes', 'broken', 'big']
const words = process.argv.slice(2)
const everything = Object.keys(SECTIONS)
const wanted = words.includes('all') ? everything : words
const unknown = wanted.filter((name) => !Object.hasOwn(SECTIONS, name))
if (unknown.length > 0) {
  console.error(`There is no section ${unknown.join(', ')}; there are ${Object.keys(SECTIONS).join(', ')}`)
  process.exit(2)
}

const start = performance.now()
section('Setup')
await setupOrExit()
done('everything needed is here')

const names = wanted.length > 0 ? wanted : everything.filter((name) => !LONG.includes(name))
try {
  if (names.some((name) => !['lint', 'rust', 'guards'].includes(name))) {
    await build()
    await check('sandbox', 'cargo', ['build', '--locked', '--workspace', '--bin', 'heys-sandbox'])
  }
} catch (error) {
  failed(error.message)
  problems.push('build')
  count(0, 1)
}
for (const name of names) {
  section(`Tests: ${name}`)
  const begun = performance.now()
  try {
    await SECTIONS[name]()
  } catch (error) {
    failed(`${name}: ${error.stack}`)
    problems.push(name)
    count(0, 1)
  }
  console.log(dim(`${name} took ${duration(performance.now() - begun)}`))
}

section('Result')
for (const problem of problems) failed(problem)
const verdict = total.failed === 0 ? green('all is well') : red('something failed')
console.log(`${verdict} in ${duration(performance.now() - start)}`)
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exitCode = total.failed === 0 ? 0 : 1
