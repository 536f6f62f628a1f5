'use strict'

const driver = require('./driver')
const { fromRaw } = require('./errors')

/** runBackup: one backup, cancelled by signals, a deadline or an AbortSignal, each of which counts as a failure. */

const SIGNALS = ['SIGINT', 'SIGTERM']
/** Left of a function's time for aborting the upload and telling Telegram; at most half of what there is. */
const MARGIN_MILLIS = 10000
/** setTimeout's limit. */
const LONGEST_TIMER = 0x7fffffff

/** These are JavaScript's; everything else goes to the addon, over the environment's settings. */
const OWN = ['env', 'context', 'deadline', 'deadlineMarginMillis', 'signal', 'onProgress']

function overridesOf(options) {
  return Object.fromEntries(Object.entries(options).filter(([key, value]) => !OWN.includes(key) && value !== undefined))
}

/** Milliseconds until the run must be cancelled, or undefined. */
function timeLeft({ context, deadline, deadlineMarginMillis = MARGIN_MILLIS }) {
  const spans = []
  if (context && typeof context.getRemainingTimeInMillis === 'function') spans.push(context.getRemainingTimeInMillis())
  if (deadline !== undefined) spans.push(Number(deadline) - Date.now())
  if (spans.length === 0) return undefined
  const left = Math.min(...spans)
  return Math.max(0, left - Math.min(deadlineMarginMillis, left / 2))
}

/** Calls `cancel(why)` for what may end a run early. Returns a function that stops listening and says which signal came. */
function listen(options, cancel) {
  let caught
  const undo = []
  for (const signal of SIGNALS) {
    const onSignal = () => {
      if (caught === undefined) caught = signal
      cancel(signal)
    }
    process.on(signal, onSignal)
    undo.push(() => process.removeListener(signal, onSignal))
  }
  const left = timeLeft(options)
  if (left !== undefined) {
    const timer = setTimeout(() => cancel('the deadline is near'), Math.min(left, LONGEST_TIMER))
    undo.push(() => clearTimeout(timer))
  }
  const { signal } = options
  if (signal) {
    const onAbort = () => cancel('aborted by the caller')
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    undo.push(() => signal.removeEventListener('abort', onAbort))
  }
  return () => {
    for (const step of undo) step()
    return caught
  }
}

function nativeBackup(native, options, started) {
  const { env = process.env, onProgress } = options
  const id = driver.request()
  return new Promise((resolve, reject) => {
    native.backup(
      id,
      { ...env },
      overridesOf(options),
      require('./tls').roots(),
      (event) => {
        if (onProgress) onProgress(event)
      },
      (raw, report) => (raw ? reject(fromRaw(raw)) : resolve(report)),
    )
    started(id)
  })
}

/**
 * One backup of the database to object storage; resolves its report. Settings come from the environment (`env`), and
 * options of the same names in camelCase go over them.
 *
 * `onProgress(event)`; `signal`: an AbortSignal; `context`: a function's context, or `deadline`: a Date or milliseconds
 * since 1970, by which the run is over, aborted if it must be. SIGINT and SIGTERM abort the run first and then take
 * their usual effect.
 */
async function runBackup(options = {}) {
  const native = driver.load()
  let stop
  // The addon works on threads of its own; this keeps the process alive for them.
  const alive = setInterval(() => {}, LONGEST_TIMER)
  try {
    return await nativeBackup(native, options, (id) => {
      stop = listen(options, (why) => native.backupCancel(id, why))
    })
  } finally {
    clearInterval(alive)
    const signal = stop && stop()
    // With no listener but ours, the signal still has to do what it came for.
    if (signal !== undefined && process.listenerCount(signal) === 0) process.kill(process.pid, signal)
  }
}

module.exports = { runBackup }
