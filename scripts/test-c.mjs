// C: compiles examples/c/*.c and capi/tests/*.c against build/ with all warnings as errors, and runs them under
// AddressSanitizer, and linked statically under valgrind, against the sandbox.

import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { root, run } from './lib/run.mjs'

const WARNINGS = ['-std=c11', '-Wall', '-Wextra', '-Werror', '-g']
const SYSTEM = ['-lpthread', '-ldl', '-lm']

function sources() {
  return ['examples/c', 'capi/tests']
    .filter((folder) => existsSync(path.join(root, folder)))
    .flatMap((folder) => readdirSync(path.join(root, folder)).map((file) => path.join(folder, file)))
    .filter((file) => file.endsWith('.c'))
}

/** Resolves `[{name, code, output, milliseconds}]`. */
export async function testC() {
  const files = sources()
  if (files.length === 0) return []
  const { startSandbox } = createRequire(import.meta.url)(path.join(root, 'sandbox/client.js'))
  const sandbox = await startSandbox({ postgres: true, s3: true, telegram: true, proxy: true })
  const folder = mkdtempSync(path.join(tmpdir(), 'heys-c-'))
  const results = []
  const step = async (name, program, args, options) => {
    const start = performance.now()
    const { code, output } = await run(program, args, { print: false, limit: 5 * 60_000, ...options })
    results.push({ name, code, output, milliseconds: performance.now() - start })
    return code === 0
  }
  try {
    const env = await sandbox.env()
    for (const file of files) {
      const asan = path.join(folder, `${path.basename(file, '.c')}-asan`)
      const shared = ['-Ibuild', file, '-o', asan, '-Lbuild', '-lheys', `-Wl,-rpath,${path.join(root, 'build')}`]
      const sanitizer = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all']
      if (
        await step(`${file} compiles against libheys.so`, 'cc', [...WARNINGS, ...sanitizer, ...shared, '-lpthread'])
      ) {
        await step(`${file} under AddressSanitizer`, asan, [], { env: { ...env, ASAN_OPTIONS: 'detect_leaks=1' } })
      }
      const plain = path.join(folder, `${path.basename(file, '.c')}-static`)
      const archive = ['-Ibuild', file, '-o', plain, 'build/libheys.a', ...SYSTEM]
      if (await step(`${file} compiles against libheys.a`, 'cc', [...WARNINGS, ...archive])) {
        const memcheck = [
          '--quiet',
          '--error-exitcode=99',
          '--leak-check=full',
          '--errors-for-leak-kinds=definite',
          plain,
        ]
        await step(`${file} under valgrind`, 'valgrind', memcheck, { env })
      }
    }
  } finally {
    await sandbox.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  return results
}
