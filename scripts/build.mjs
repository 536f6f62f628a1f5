// npm run build: a release build in place. Afterwards `require('.')` works at the root, and build/ holds what a C
// caller needs: libheys.so, libheys.a, heys.h.

import { copyFileSync, mkdirSync, renameSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { linkC } from './lib/c-library.mjs'
import { must, root, targetDir } from './lib/run.mjs'
import { note, section, size, step } from './lib/say.mjs'
import { setupOrExit } from './setup.mjs'

export const addonName = `heys-db.linux-${process.arch}-gnu.node`
export const addon = path.join(root, 'node-binding/js', addonName)
export const cFolder = path.join(root, 'build')

/** Replaces a file in one step: a process that has the old one loaded keeps it. */
function install(from, to) {
  mkdirSync(path.dirname(to), { recursive: true })
  copyFileSync(from, `${to}.new`)
  renameSync(`${to}.new`, to)
}

/** Installs the addon without the names of what is inside it; debuggers and perf find those in `<addon>.debug`. */
async function installStripped(from, to) {
  const quietly = { print: false }
  await must('objcopy', ['--only-keep-debug', from, `${to}.debug`], quietly)
  await must('objcopy', ['--strip-unneeded', `--add-gnu-debuglink=${to}.debug`, from, `${to}.new`], quietly)
  renameSync(`${to}.new`, to)
}

async function cargo(profile) {
  const args = ['build', '--locked', '-p', 'heys-node', '-p', 'heys']
  await must('cargo', profile === 'release' ? [...args, '--release'] : args)
  return path.join(targetDir, profile === 'release' ? 'release' : 'debug')
}

/** `profile` is `release`, or `dev` for a quick build while developing (npm run build -- --dev). */
export async function build(profile = 'release') {
  section(`Build (${profile})`)
  const out = await step('addon and libheys compiled', () => cargo(profile))
  const compiled = path.join(out, 'libheys_node.so')
  if (profile === 'release') await installStripped(compiled, addon)
  else install(compiled, addon)
  await step('libheys.so and libheys.a linked', () => linkC(path.join(out, 'libheys.a'), cFolder))
  install(path.join(root, 'capi/include/heys.h'), path.join(cFolder, 'heys.h'))
  note(`${path.relative(root, addon)} ${size(statSync(addon).size)}`)
  note(`build/libheys.so ${size(statSync(path.join(cFolder, 'libheys.so')).size)}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await setupOrExit()
  try {
    await build(process.argv.includes('--dev') ? 'dev' : 'release')
  } catch (error) {
    console.error(error.message)
    process.exit(1)
  }
}
