// C: what build/ offers to C, then examples/c/*.c and capi/tests/*.c with all warnings as errors: linked to libheys.so
// under AddressSanitizer, and to libheys.a under valgrind, against the sandbox.
//
// `node scripts/test-c.mjs [WORD…]` runs those programs alone whose path has one of the words, and prints their output.

import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { SYSTEM_LIBRARIES, declared, soname } from './lib/c-library.mjs'
import { must, root, run } from './lib/run.mjs'
import { done, failed } from './lib/say.mjs'

const WARNINGS = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-pedantic', '-g']
const SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all']
const MEMCHECK = [
  '--quiet',
  '--error-exitcode=99',
  '--leak-check=full',
  '--show-leak-kinds=definite,indirect',
  '--errors-for-leak-kinds=definite,indirect',
]
const LIMIT = 5 * 60_000

const sources = () =>
  ['examples/c', 'capi/tests']
    .flatMap((folder) => readdirSync(path.join(root, folder)).map((file) => path.join(folder, file)))
    .filter((file) => file.endsWith('.c'))
    .sort()

/** The names of the symbols that `nm` prints. */
async function symbols(...args) {
  const lines = (await must('nm', ['--format=posix', '--defined-only', ...args], { print: false })).split('\n')
  return lines
    .map((line) => line.split(' ')[0])
    .filter((name) => name !== '' && !name.endsWith(':'))
    .sort()
}

function same(found, wanted) {
  if (String(found) !== String(wanted)) throw new Error(`found ${found}\nand not ${wanted}`)
}

const LIBRARY = {
  async 'libheys.so shows the functions of heys.h and nothing else'() {
    same(await symbols('--dynamic', 'build/libheys.so'), declared())
  },
  async 'libheys.a shows the functions of heys.h and nothing else'() {
    same(await symbols('--extern-only', 'build/libheys.a'), declared())
  },
  async 'libheys.so has its soname, and needs only the C library'() {
    const dynamic = await must('readelf', ['--dynamic', '--wide', 'build/libheys.so'], { print: false })
    same(/SONAME.*\[(.*)\]/.exec(dynamic)?.[1], soname)
    const usual = /^(libc|libm|libgcc_s|libpthread|libdl|ld-linux-x86-64)\.so\.\d$/
    const needed = [...dynamic.matchAll(/NEEDED.*\[(.*)\]/g)].map(([, name]) => name)
    same(
      needed.filter((name) => !usual.test(name)),
      [],
    )
  },
  async 'build/heys.h is the committed one'() {
    same(readFileSync(path.join(root, 'build/heys.h')), readFileSync(path.join(root, 'capi/include/heys.h')))
  },
  async 'heys.h is C and C++'() {
    const check = ['-Wall', '-Wextra', '-Werror', '-pedantic', '-fsyntax-only', 'build/heys.h']
    await must('cc', ['-xc', '-std=c99', ...check], { print: false })
    await must('c++', ['-xc++', '-std=c++11', ...check], { print: false })
  },
}

/** Answers `part.verb {"arguments": …}` with the sandbox's JSON. */
const speaker = (sandbox) => async (line) => {
  const [, command, json] = /^(\S+) ?(.*)$/.exec(line)
  try {
    return JSON.stringify((await sandbox.command(command, json ? JSON.parse(json) : {})) ?? null)
  } catch (error) {
    return JSON.stringify({ error: error.message })
  }
}

/** Compiles and runs one program in both ways; `step(name, program, args, options)` resolves whether it went well. */
async function program(file, folder, options, step) {
  const name = path.join(folder, file.replaceAll(/\W/g, '-'))
  const shared = ['-Ibuild', file, '-o', `${name}-so`, '-Lbuild', '-lheys', `-Wl,-rpath,${path.join(root, 'build')}`]
  if (await step(`${file} compiles with libheys.so`, 'cc', [...WARNINGS, ...SANITIZERS, ...shared, '-lpthread'])) {
    const asan = { ...options, env: { ...options.env, ASAN_OPTIONS: 'detect_leaks=1' } }
    await step(`${file} with libheys.so under AddressSanitizer`, `${name}-so`, [], asan)
  }
  const archive = ['-Ibuild', file, '-o', `${name}-a`, 'build/libheys.a', ...SYSTEM_LIBRARIES]
  if (await step(`${file} compiles with libheys.a`, 'cc', [...WARNINGS, ...archive])) {
    await step(`${file} with libheys.a under valgrind`, 'valgrind', [...MEMCHECK, `${name}-a`], options)
  }
}

/** Resolves `[{name, code, output, milliseconds}]`; `told` gets each of them as it comes. */
export async function testC(words = [], told = () => {}) {
  const results = []
  const tell = (result, start) => {
    results.push({ ...result, milliseconds: performance.now() - start })
    told(results.at(-1))
  }
  for (const [name, check] of words.length > 0 ? [] : Object.entries(LIBRARY)) {
    const start = performance.now()
    await check().then(
      () => tell({ name, code: 0, output: '' }, start),
      (error) => tell({ name, code: 1, output: error.message }, start),
    )
  }
  const { startSandbox } = createRequire(import.meta.url)(path.join(root, 'sandbox/client.js'))
  const sandbox = await startSandbox({ postgres: true, s3: true, telegram: true, proxy: true })
  const folder = mkdtempSync(path.join(tmpdir(), 'heys-c-'))
  const step = async (name, command, args, options) => {
    const start = performance.now()
    const { code, output } = await run(command, args, { print: false, limit: LIMIT, ...options })
    tell({ name, code, output }, start)
    return code === 0
  }
  try {
    const options = { env: { ...sandbox.env(), PROXY_PORT: String(sandbox.proxy.port) }, answer: speaker(sandbox) }
    const wanted = (file) => words.length === 0 || words.some((word) => file.includes(word))
    for (const file of sources().filter(wanted)) await program(file, folder, options, step)
  } finally {
    await sandbox.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  return results
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const results = await testC(process.argv.slice(2), ({ name, code, output, milliseconds }) => {
    if (code === 0) done(name, milliseconds)
    else failed(`${name} (exit code ${code})`)
    if (output !== '') console.log(output.trimEnd())
  })
  process.exitCode = results.every(({ code }) => code === 0) ? 0 : 1
}
