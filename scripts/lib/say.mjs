// What the scripts print: sections, steps with their time, colour on a terminal only.

import { isInterrupted } from './run.mjs'

const colour = process.stdout.isTTY && !process.env.NO_COLOR
const paint = (code) => (text) => (colour ? `\x1b[${code}m${text}\x1b[0m` : String(text))

export const bold = paint('1')
export const dim = paint('2')
export const red = paint('31')
export const green = paint('32')
export const yellow = paint('33')
export const cyan = paint('36')

/** Milliseconds as people read them: `12 ms`, `3.4 s`, `2 min 05 s`. */
export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`
  const seconds = milliseconds / 1000
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, '0')} s`
}

/** Bytes as people read them. */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(1)} KB`
  return `${(bytes / 1024 / 1024).toFixed(2)} MB`
}

export function section(title) {
  console.log(`\n${bold(cyan(title))}`)
}

/** Prints `✓ what  (time)`. */
export function done(what, milliseconds) {
  const time = milliseconds === undefined ? '' : `  ${dim(`(${duration(milliseconds)})`)}`
  console.log(`${green('✓')} ${what}${time}`)
}

export function failed(what) {
  console.log(`${red('✗')} ${what}`)
}

export function note(text) {
  console.log(`  ${dim(text)}`)
}

/**
 * Runs `work` and prints one line: what `text(result)` says happened, and how long it took. Once a signal has come it
 * says nothing and never ends: the process is about to.
 */
export async function step(text, work) {
  const start = performance.now()
  const result = await work()
  if (isInterrupted()) return new Promise(() => {})
  done(typeof text === 'function' ? text(result) : text, performance.now() - start)
  return result
}
