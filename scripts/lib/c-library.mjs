// libheys.so and libheys.a from the archive that cargo makes.
//
// cargo's own archive and shared library also show what the Rust crates and OpenSSL define. A program that links its own
// OpenSSL would then find two, so both libraries are made here from one object in which only heys_* has a name.

import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { must, root } from './run.mjs'

/** The number changes when a released ABI breaks. */
export const soname = 'libheys.so.0'

/** The functions that heys.h declares. */
export function declared(header = path.join(root, 'capi/include/heys.h')) {
  const names = readFileSync(header, 'utf8').matchAll(/^\w[\w *]*?\b(heys_\w+)\(/gm)
  return [...new Set([...names].map(([, name]) => name))].sort()
}

/** What a program needs beside libheys.a. */
export const SYSTEM_LIBRARIES = ['-lpthread', '-ldl', '-lm']

/** Puts libheys.so, its soname as a link to it, and libheys.a into `folder`, each in one step. */
export async function linkC(archive, folder) {
  mkdirSync(folder, { recursive: true })
  const work = mkdtempSync(path.join(folder, '.new-'))
  const at = (name) => path.join(work, name)
  const quietly = { print: false }
  try {
    // Only what the declared functions reach; one that is missing fails here. -d: a common symbol would keep its name.
    const roots = declared().flatMap((name) => ['--undefined', name, '--require-defined', name])
    await must('ld', ['-r', '-d', '--gc-sections', ...roots, archive, '-o', at('all.o')], quietly)
    // LLVM's bitcode of some objects would make other tools take the whole for bitcode.
    const strip = ['--strip-debug', '--remove-section=.llvmbc', '--remove-section=.llvmcmd']
    const names = ['--wildcard', '--keep-global-symbol=heys_*']
    await must('objcopy', [...strip, ...names, at('all.o'), at('heys.o')], quietly)
    await must('ar', ['rcs', at('libheys.a'), at('heys.o')], quietly)
    const options = [
      `-soname=${soname}`,
      `--version-script=${path.join(root, 'capi/libheys.map')}`,
      '--gc-sections',
      // Threads of the library outlive a dlclose.
      ...['nodelete', 'defs', 'relro', 'now'].flatMap((keyword) => ['-z', keyword]),
    ]
    const passed = `-Wl,${options.join(',')}`
    await must('cc', ['-shared', '-o', at('libheys.so'), at('heys.o'), passed, ...SYSTEM_LIBRARIES], quietly)
    symlinkSync('libheys.so', at(soname))
    for (const name of ['libheys.a', 'libheys.so', soname]) renameSync(at(name), path.join(folder, name))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}
