import heys from './index.js'

export default heys

export const {
  getPool,
  withClient,
  withTransaction,
  withAdmission,
  closePool,
  getAllPools,
  getPoolMetrics,
  getAllPoolsMetrics,
  logPoolMetrics,
  getPoolHealthCheck,
  withPoolMetrics,
  runBackup,
  Client,
  Pool,
  Connection,
  Query,
  Result,
  types,
  TypeOverrides,
  defaults,
  utils,
  DatabaseError,
  escapeIdentifier,
  escapeLiteral,
  native,
} = heys
