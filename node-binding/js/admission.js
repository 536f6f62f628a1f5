'use strict'

/**
 * Admission: at most `limit` runs of a handler at a time in this process. Handlers that take a second client while they
 * hold the first can otherwise starve each other: all connections held, everyone waiting for one more. With a pool of
 * `max` connections and k clients nested in one run, `limit` ≤ (max − 1) / (k − 1) leaves one run always able to go on.
 */

/** Left for the handler's own answer when a call has waited as long as it may. */
const MARGIN_MILLIS = 500
/** How long a call without a deadline of its own may wait. */
const WAIT_MILLIS = 25000
const RETRY_AFTER_SECONDS = 1

function busy(retryAfterSeconds) {
  return {
    statusCode: 503,
    headers: { 'Content-Type': 'application/json', 'Retry-After': String(retryAfterSeconds) },
    body: JSON.stringify({ error: 'SERVICE_BUSY', message: 'Too many requests at a time; try again shortly' }),
  }
}

function patience(context, options) {
  const margin = options.marginMillis === undefined ? MARGIN_MILLIS : options.marginMillis
  const most = options.waitMillis === undefined ? WAIT_MILLIS : options.waitMillis
  if (!context || typeof context.getRemainingTimeInMillis !== 'function') return most
  return Math.min(most, context.getRemainingTimeInMillis() - margin)
}

/** First come, first served. */
class Gate {
  constructor(limit) {
    this.free = limit
    this.queue = []
  }

  /** Resolves true once inside, false when `millis` have passed. */
  enter(millis) {
    if (this.free > 0) {
      this.free--
      return Promise.resolve(true)
    }
    if (!(millis > 0)) return Promise.resolve(false)
    return new Promise((resolve) => {
      const waiter = { resolve, timer: undefined }
      waiter.timer = setTimeout(() => {
        this.queue.splice(this.queue.indexOf(waiter), 1)
        resolve(false)
      }, millis)
      this.queue.push(waiter)
    })
  }

  leave() {
    const next = this.queue.shift()
    if (next === undefined) {
      this.free++
      return
    }
    clearTimeout(next.timer)
    next.resolve(true)
  }
}

/**
 * Wraps a handler `(event, context) => answer`. Calls beyond `limit` wait within their deadline
 * (`context.getRemainingTimeInMillis()`, less `marginMillis`; without one, `waitMillis`), else they are answered 503 with
 * Retry-After and the handler does not see them.
 */
function withAdmission(handler, options) {
  const { limit, retryAfterSeconds = RETRY_AFTER_SECONDS } = options || {}
  if (!Number.isInteger(limit) || limit < 1) throw new TypeError('withAdmission needs a limit of at least 1')
  const gate = new Gate(limit)
  return async function admitted(event, context, ...rest) {
    if (!(await gate.enter(patience(context, options)))) return busy(retryAfterSeconds)
    try {
      return await handler.call(this, event, context, ...rest)
    } finally {
      gate.leave()
    }
  }
}

module.exports = { withAdmission }
