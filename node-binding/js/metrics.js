'use strict'

const { getPool, getAllPools } = require('./shared')

/** What the shared pools have been doing. Counts run since a pool was made; times are in milliseconds. */

function metricsOf(pool) {
  const { max } = pool.options
  const { totalCount: total, idleCount: idle, waitingCount: waiting, _counts: counts } = pool
  const active = total - idle
  const round = (millis) => Math.round(millis * 1000) / 1000
  return {
    total,
    active,
    idle,
    waiting,
    max,
    /** Percent of `max` in use. */
    utilization: Math.round((active / max) * 100),
    acquires: counts.acquires,
    waitMs: { last: round(counts.waitLast), max: round(counts.waitMax), total: round(counts.waitTotal) },
    connectErrors: counts.connectErrors,
    acquireTimeouts: counts.acquireTimeouts,
    queryTimeouts: counts.queryTimeouts,
    timestamp: new Date().toISOString(),
  }
}

/** The metrics of getPool(name). */
function getPoolMetrics(name) {
  return metricsOf(getPool(name))
}

/** `[{name, …metrics}]` of the pools that there are. */
function getAllPoolsMetrics() {
  return getAllPools().map(({ name, pool }) => ({ name, ...metricsOf(pool) }))
}

/** Writes one line a pool. */
function logPoolMetrics(name) {
  const all = name === undefined ? getAllPoolsMetrics() : [{ name, ...getPoolMetrics(name) }]
  for (const metrics of all) console.log('[Pool-Metrics]', JSON.stringify(metrics))
}

function judge(metrics) {
  if (metrics.waiting >= metrics.max) {
    return `${metrics.waiting} callers are waiting for ${metrics.max} connections`
  }
  if (metrics.total === 0 && metrics.connectErrors > 0) return 'no connection, and connecting has failed before'
  return null
}

/** `{healthy, reason, metrics}`: `reason` is null when healthy. Looks at the counts alone; sends nothing. */
function getPoolHealthCheck(name) {
  const metrics = getPoolMetrics(name)
  const reason = judge(metrics)
  return { healthy: reason === null, reason, metrics }
}

/** Wraps a handler so that each call ends with a line of metrics. */
function withPoolMetrics(handler, name) {
  return async function measured(...args) {
    try {
      return await handler.apply(this, args)
    } finally {
      logPoolMetrics(name)
    }
  }
}

module.exports = { getPoolMetrics, getAllPoolsMetrics, logPoolMetrics, getPoolHealthCheck, withPoolMetrics }
