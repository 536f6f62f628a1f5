// Guards: instructions that protocol, rows, statements and pool take for typical inputs, against guards/counts.json.
// Times are noisy where tests run; this program's instructions under callgrind are the same each time.
//
// `node scripts/test-guards.mjs` counts; `--update` stores what it counted.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { must, root, run, targetDir } from './lib/run.mjs'
import { done, failed, note } from './lib/say.mjs'

const STORED = path.join(root, 'guards/counts.json')
const PROGRAM = path.join(targetDir, 'debug/heys-guards')
const LIMIT = 5 * 60_000

/** One program counts the same in each run, to the last instruction; so this is what a change may cost unasked. */
const MARGIN = 0.05
/** Another compiler or C library has instructions of its own. */
const MARGIN_ELSEWHERE = 0.25

const FUNCTION = 'heys_guards::measured'
// Toggled and written down by the function's full name: in callgrind 3.19 one pattern with * serves one option only.
const CALLGRIND = ['--tool=callgrind', `--toggle-collect=${FUNCTION}`, `--dump-after=${FUNCTION}`]
// The C library's plainest routines. The others' instructions depend on the processor, on how far from the end of a page
// a string happens to lie, and with `rep movsb`, each step of which counts, on the size of a cache.
const TUNABLES = { GLIBC_TUNABLES: 'glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-ERMS' }

const UPDATE = 'node scripts/test-guards.mjs --update'
const quietly = { print: false }

/** What instructions depend on beside our sources and Cargo.lock. */
async function toolchain() {
  const rustc = await must('rustc', ['--version'], quietly)
  const libc = await must('getconf', ['GNU_LIBC_VERSION'], quietly)
  return { rustc: rustc.split(' ')[1], glibc: libc.trim().split(' ')[1] }
}

/** Runs all scenarios once; resolves `{name: instructions of one run}`. */
async function counted() {
  // As a part of the workspace: on its own its dependencies would have other features and be built once more.
  await must('cargo', ['build', '--locked', '--workspace', '--bin', 'heys-guards'], quietly)
  const folder = mkdtempSync(path.join(tmpdir(), 'heys-guards-'))
  try {
    const args = [...CALLGRIND, `--callgrind-out-file=${path.join(folder, 'count')}`, '--quiet', PROGRAM]
    const { code, output, timedOut } = await run('valgrind', args, { print: false, limit: LIMIT, env: TUNABLES })
    if (code === 127) throw new Error(`valgrind is missing: npm run setup installs it, or says how.\n${output}`)
    if (code !== 0) throw new Error(`${PROGRAM} under callgrind ${timedOut ? 'took too long' : 'failed'}:\n${output}`)
    const total = (dump) => /^totals: (\d+)$/m.exec(readFileSync(path.join(folder, dump), 'utf8'))[1]
    const lines = [...output.matchAll(/^(.+) (\d+)$/gm)]
    if (lines.length === 0) throw new Error(`${PROGRAM} ran no scenario`)
    return Object.fromEntries(lines.map(([, name, runs], i) => [name, Math.round(total(`count.${i + 1}`) / runs)]))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const number = (count) => count.toLocaleString('en')
const percent = (share) => `${Math.round(share * 100)} %`

/** What is wrong with a count, or else what is to be said about it. */
function judge(instructions, stored, margin) {
  if (stored === undefined) return { failure: `It has no stored count yet: ${UPDATE}` }
  if (instructions === undefined) return { failure: `It is stored, but no scenario any more: ${UPDATE}` }
  const ratio = instructions / stored
  if (ratio > 1 + margin) {
    const failure = `${percent(margin)} more are allowed. Find them (CONTRIBUTING.md) and save them, or store them and say why: ${UPDATE}`
    return { failure }
  }
  if (ratio < 1 - margin) return { hint: `Fewer: store them, so that they stay: ${UPDATE}` }
  return {}
}

/** Resolves `{results: [{name, text, failure, hint}], hint}`. */
export async function testGuards() {
  const { instructions: stored, ...storedWith } = JSON.parse(readFileSync(STORED, 'utf8'))
  const here = await toolchain()
  const versions = ({ rustc, glibc }) => `rustc ${rustc} and glibc ${glibc}`
  const same = versions(here) === versions(storedWith)
  const margin = same ? MARGIN : MARGIN_ELSEWHERE
  const counts = await counted()
  const results = [...new Set([...Object.keys(counts), ...Object.keys(stored)])].map((name) => {
    const [is, was] = [counts[name], stored[name]]
    const known = is !== undefined && was !== undefined
    const text = known
      ? `${name}: ${number(is)} instructions, stored ${number(was)}, ratio ${(is / was).toFixed(3)}`
      : name
    return { name, text, ...judge(is, was, margin) }
  })
  const hint = `The stored counts are of ${versions(storedWith)}, these of ${versions(here)}: allowed are ${percent(margin)} more`
  return { results, hint: same ? undefined : hint }
}

/** Prints what `testGuards` found; answers the names of those that failed. */
export function tellGuards({ results, hint }) {
  if (hint !== undefined) note(hint)
  for (const { text, failure, hint } of results) {
    if (failure === undefined) done(text)
    else failed(`${text}\n  ${failure}`)
    if (hint !== undefined) note(hint)
  }
  return results.filter(({ failure }) => failure !== undefined).map(({ name }) => name)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    if (process.argv.includes('--update')) {
      const stored = { ...(await toolchain()), instructions: await counted() }
      writeFileSync(STORED, `${JSON.stringify(stored, null, 2)}\n`)
      done(`${path.relative(root, STORED)} has the counts of today`)
    } else if (tellGuards(await testGuards()).length > 0) process.exitCode = 1
  } catch (error) {
    failed(error.message)
    process.exitCode = 1
  }
}
