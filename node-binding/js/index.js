'use strict'

/**
 * heys-db's surface: node-postgres's, and the shared pool. Everything loads at first use; requiring this module reads
 * no environment, opens no socket and does not load the addon.
 */

const lazy = {
  getPool: () => require('./shared').getPool,
  withClient: () => require('./shared').withClient,
  withTransaction: () => require('./shared').withTransaction,
  closePool: () => require('./shared').closePool,
  getAllPools: () => require('./shared').getAllPools,
  withAdmission: () => require('./admission').withAdmission,
  getPoolMetrics: () => require('./metrics').getPoolMetrics,
  getAllPoolsMetrics: () => require('./metrics').getAllPoolsMetrics,
  logPoolMetrics: () => require('./metrics').logPoolMetrics,
  getPoolHealthCheck: () => require('./metrics').getPoolHealthCheck,
  withPoolMetrics: () => require('./metrics').withPoolMetrics,
  runBackup: () => require('./backup').runBackup,
  defaults: () => require('./defaults'),
  Client: () => require('./client'),
  Connection: () => require('./connection'),
  _pools: () => [],
  Query: () => require('./query').Query,
  Pool: () => require('./pool'),
  types: () => require('pg-types'),
  DatabaseError: () => require('./errors').DatabaseError,
  TypeOverrides: () => require('./type-overrides'),
  escapeIdentifier: () => require('./utils').escapeIdentifier,
  escapeLiteral: () => require('./utils').escapeLiteral,
  Result: () => require('./result'),
  utils: () => require('./utils'),
}

for (const [name, load] of Object.entries(lazy)) {
  Object.defineProperty(module.exports, name, {
    configurable: true,
    enumerable: true,
    get() {
      const value = load()
      Object.defineProperty(module.exports, name, { configurable: true, enumerable: true, writable: true, value })
      return value
    },
    set(value) {
      Object.defineProperty(module.exports, name, { configurable: true, enumerable: true, writable: true, value })
    },
  })
}

// As in pg without pg-native: there, but not enumerable.
Object.defineProperty(module.exports, 'native', { configurable: true, enumerable: false, value: null })
