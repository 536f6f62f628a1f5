'use strict'

const driver = require('./driver')
const { fromRaw } = require('./errors')

/** runBackup: one backup, cancelled by signals, a deadline or an AbortSignal, each of which counts as a failure. */

const SIGNALS = ['SIGINT', 'SIGTERM']
/** Our own listeners of all runs, by which the program's are told from them. */
const ours = new Set()
/** What the addon still works on: promises of reports. */
const works = new Set()
/** setTimeout's limit. */
const LONGEST_TIMER = 0x7fffffff

/** These are JavaScript's; everything else goes to the addon, over the environment's settings. */
const OWN = ['env', 'context', 'deadline', 'signal', 'onProgress']

function overridesOf(options) {
  return Object.fromEntries(Object.entries(options).filter(([key, value]) => !OWN.includes(key) && value !== undefined))
}

/** Milliseconds until the run must be over, what a failure leaves to undo included, or undefined. */
function timeLeft({ context, deadline }) {
  const spans = []
  if (context && typeof context.getRemainingTimeInMillis === 'function') spans.push(context.getRemainingTimeInMillis())
  if (deadline !== undefined) spans.push(Number(deadline) - Date.now())
  if (spans.length === 0) return undefined
  const left = Math.min(...spans)
  if (Number.isNaN(left)) throw new TypeError('deadline must be a Date or milliseconds since 1970')
  return Math.max(0, left)
}

/**
 * Calls `cancel(signal)` when a signal comes. Returns a function that stops listening and returns the signal that then
 * has to do what it came for.
 */
function listenToSignals(cancel) {
  let toRaise
  const listeners = SIGNALS.map((signal) => {
    const listener = () => {
      // A program with listeners of its own decides itself what the signal means; those set by once() are gone later.
      if (process.listeners(signal).every((each) => ours.has(each))) toRaise = signal
      cancel(signal)
    }
    ours.add(listener)
    // Before a once() of the program's is taken off the list.
    process.prependListener(signal, listener)
    return [signal, listener]
  })
  return () => {
    for (const [signal, listener] of listeners) {
      process.removeListener(signal, listener)
      ours.delete(listener)
    }
    return toRaise
  }
}

/** Calls `cancel(why)` when the AbortSignal `signal` is or becomes aborted. Returns a function that stops listening. */
function listenToAbort(signal, cancel) {
  if (!signal) return () => {}
  const onAbort = () => cancel('aborted by the caller')
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return () => signal.removeEventListener('abort', onAbort)
}

/** Begins a run. Its promise is of the report; a run that could not begin rejects it at once. */
function nativeBackup(native, id, options) {
  const { env = process.env, onProgress } = options
  const tls = require('./tls')
  return new Promise((resolve, reject) => {
    native.backup(
      id,
      { ...env },
      overridesOf(options),
      tls.roots(),
      tls.entryFolders(),
      timeLeft(options),
      (event) => {
        if (onProgress) onProgress(event)
      },
      (raw, report) => (raw ? reject(fromRaw(raw)) : resolve(report)),
    )
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
  const id = driver.request()
  const cancel = (why) => native.backupCancel(id, why)
  const work = nativeBackup(native, id, options)
  works.add(work)
  const ignoreAbort = listenToAbort(options.signal, cancel)
  const ignoreSignals = listenToSignals(cancel)
  // The addon works on threads of its own; this keeps the process alive for them.
  const alive = setInterval(() => {}, LONGEST_TIMER)
  try {
    return await work
  } finally {
    clearInterval(alive)
    works.delete(work)
    ignoreAbort()
    const signal = ignoreSignals()
    if (signal !== undefined) {
      // An unhandled rejection would end the process while other runs still abort their uploads.
      await Promise.allSettled(works)
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
    }
  }
}

module.exports = { runBackup }
