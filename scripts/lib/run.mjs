// Child processes of the scripts: each in its own process group, all ended with the script that started them.

import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')

/** Where cargo builds: CARGO_TARGET_DIR, else `target`. */
export const targetDir = path.resolve(root, process.env.CARGO_TARGET_DIR || 'target')

const running = new Set()

function endAll(signal) {
  for (const child of running) {
    try {
      process.kill(-child.pid, signal)
    } catch {
      // It has ended meanwhile.
    }
  }
}

process.on('exit', () => endAll('SIGKILL'))

const cleanups = []
let interrupted = false

/** Whether a signal has asked this process to end. */
export const isInterrupted = () => interrupted

/** `work` is awaited before a signal ends this process. */
export function beforeInterrupt(work) {
  cleanups.push(work)
}

/** Time for children and clean-ups, in milliseconds; after that the process ends all the same. */
const PATIENCE = 10_000

async function endOn(signal) {
  if (interrupted) return
  interrupted = true
  const code = 128 + constants.signals[signal]
  setTimeout(() => process.exit(code), PATIENCE).unref()
  endAll(signal)
  const closed = [...running].map((child) => new Promise((resolve) => child.once('close', resolve)))
  await Promise.allSettled([...closed, ...cleanups.map((work) => work(signal))])
  process.exit(code)
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, endOn)

async function answerLines(stream, answer) {
  // A program that ends in the middle of a question needs no answer.
  stream.on('error', () => {})
  for await (const line of createInterface({ input: stream })) stream.write(`${await answer(line)}\n`)
}

/**
 * Runs a program to its end.
 *
 * `print`: pass its output on as it comes (default), else keep it for the result alone. `limit`: milliseconds after
 * which its whole process group is killed. `answer`: descriptor 3 is a line to us; `answer(line)` resolves to the line
 * that goes back. Resolves `{code, output, timedOut}`; a program that cannot be started
 * has code 127.
 */
export function run(program, args, { print = true, cwd = root, env = {}, limit, input, answer } = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', ...(answer ? ['pipe'] : [])],
      detached: true,
    })
    const pieces = []
    let timedOut = false
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data) => {
        pieces.push(data)
        if (print) process.stdout.write(data)
      })
    }
    if (input !== undefined) child.stdin.end(input)
    if (answer) answerLines(child.stdio[3], answer)
    const timer =
      limit &&
      setTimeout(() => {
        timedOut = true
        process.kill(-child.pid, 'SIGKILL')
      }, limit)
    child.once('spawn', () => running.add(child))
    const finish = (code) => {
      clearTimeout(timer)
      running.delete(child)
      resolve({ code, output: Buffer.concat(pieces).toString(), timedOut })
    }
    child.once('error', (error) => {
      pieces.push(Buffer.from(`${error.message}\n`))
      finish(127)
    })
    child.once('close', (code, signal) => finish(code ?? 128 + constants.signals[signal]))
  })
}

/** As `run`, but anything other than exit code 0 is thrown, with the output if it was not printed. */
export async function must(program, args, options = {}) {
  const { code, output, timedOut } = await run(program, args, options)
  if (code === 0) return output
  const line = [program, ...args].join(' ')
  const why = timedOut ? `took longer than ${options.limit} ms` : `ended with code ${code}`
  throw new Error(`${line} ${why}${options.print === false ? `:\n${output}` : ''}`)
}
