import { EventEmitter } from 'events'
import { Readable, Writable } from 'stream'
import { ConnectionOptions } from 'tls'
import * as pgTypes from 'pg-types'

// The names are node-postgres's, so that a program typed for it compiles as it is; then come heys-db's own.

export import types = pgTypes

/** A parser of one type's values; binary values come as Buffers. */
export type TypeParser = (value: any) => any

/** What `types` of a client or a query must have. */
export interface CustomTypesConfig {
  getTypeParser(oid: number, format?: 'text' | 'binary'): TypeParser
}

export interface Defaults {
  host?: string
  user?: string
  database?: string
  password?: string | null
  connectionString?: string
  port?: number
  rows?: number
  binary?: boolean
  max?: number
  idleTimeoutMillis?: number
  /** Turns off every difference from pg for what is made from then on (docs/differences-from-pg.md). */
  strictPg?: boolean
  client_encoding?: string
  ssl?: boolean | ConnectionOptions
  application_name?: string
  fallback_application_name?: string
  options?: string
  parseInputDatesAsUTC?: boolean
  statement_timeout?: false | number
  lock_timeout?: false | number
  idle_in_transaction_session_timeout?: false | number
  query_timeout?: false | number
  connect_timeout?: number
  keepalives?: number
  keepalives_idle?: number
  /** Can be set only: true delivers int8 as numbers. */
  parseInt8?: boolean
  [more: string]: any
}
export const defaults: Defaults

export interface ClientConfig {
  user?: string
  database?: string
  /** A function is asked once for each connection. */
  password?: string | (() => string | Promise<string>)
  port?: number
  host?: string
  /** Goes over the other options. */
  connectionString?: string
  /** As in pg: true verifies the server's certificate. */
  ssl?: boolean | ConnectionOptions
  sslnegotiation?: 'postgres' | 'direct'
  types?: CustomTypesConfig
  keepAlive?: boolean
  keepAliveInitialDelayMillis?: number
  /** 0 = for ever. */
  connectionTimeoutMillis?: number
  /** Milliseconds, by the server. */
  statement_timeout?: false | number
  lock_timeout?: false | number
  idle_in_transaction_session_timeout?: number
  /** Milliseconds; then the query is rejected and cancelled on the server. */
  query_timeout?: false | number
  application_name?: string
  fallback_application_name?: string
  client_encoding?: string
  options?: string
  replication?: string
  binary?: boolean
  enableChannelBinding?: boolean
  scramMaxIterations?: number
  /** Sends queries without waiting for the answers of those before. */
  pipeline?: boolean
  Promise?: PromiseConstructorLike
  /** Turns off every difference from pg that follows; each can be set alone. */
  strictPg?: boolean
  /** A checked-out client's connection error is not emitted when nobody listens. */
  survivesLostClients?: boolean
  /** `pool.end()` rejects those who still wait for a client. */
  endRejectsWaiters?: boolean
  /** `query_timeout` cancels on the server, too. */
  timeoutCancels?: boolean
  /** A client released busy or in a transaction is cleaned before its next use. */
  cleansReleased?: boolean
  /** `pool.query()` keeps its connection after an error of SQL. */
  keepsAfterSqlError?: boolean
}

export interface PoolConfig extends ClientConfig {
  max?: number
  min?: number
  /** 0 = never. */
  idleTimeoutMillis?: number | null
  /** 0 = never. */
  maxLifetimeSeconds?: number
  maxUses?: number
  /** Whether idle clients let the process end. */
  allowExitOnIdle?: boolean
  log?: (...messages: any[]) => void
  /** Runs on each new client before it is given out. */
  onConnect?: (client: PoolClient) => void | Promise<void>
  verify?: (client: PoolClient, callback: (error?: Error) => void) => void
  Client?: new (config?: string | ClientConfig) => ClientBase
}

export interface QueryConfig<I = any[]> {
  text: string
  values?: I
  /** Prepares the statement once for each connection. */
  name?: string
  types?: CustomTypesConfig
  rows?: number
  binary?: boolean
  queryMode?: 'extended'
  rowMode?: 'array'
}

export interface QueryArrayConfig<I = any[]> extends QueryConfig<I> {
  rowMode: 'array'
}

export interface FieldDef {
  name: string
  tableID: number
  columnID: number
  dataTypeID: number
  dataTypeSize: number
  dataTypeModifier: number
  format: string
}

export interface QueryResultRow {
  [column: string]: any
}

export interface QueryResultBase {
  command: string
  rowCount: number | null
  oid: number
  fields: FieldDef[]
}

export interface QueryResult<R extends QueryResultRow = any> extends QueryResultBase {
  rows: R[]
}

export interface QueryArrayResult<R extends any[] = any[]> extends QueryResultBase {
  rows: R[]
}

export class Result<R extends QueryResultRow = any> implements QueryResult<R> {
  constructor(rowMode?: string, types?: CustomTypesConfig)
  command: string
  rowCount: number | null
  oid: number
  fields: FieldDef[]
  rows: R[]
  addCommandComplete(message: { text?: string; command?: string }): void
  addFields(fields: FieldDef[]): void
  parseRow(cells: any[]): R
  addRow(row: R): void
}

/** A query with events, given to `client.query()`. */
export class Query<R extends QueryResultRow = any> extends EventEmitter {
  constructor(config: string | QueryConfig, callback?: QueryCallback<QueryResult<R>>)
  constructor(config: string | QueryConfig, values?: any[], callback?: QueryCallback<QueryResult<R>>)
  on(event: 'row', listener: (row: R, result?: Result<R>) => void): this
  on(event: 'error', listener: (error: Error) => void): this
  on(event: 'end', listener: (result: Result<R>) => void): this
  on(event: string, listener: (...args: any[]) => void): this
}

type QueryCallback<T> = (error: Error, result: T) => void

/** query() of clients and pools. Several statements in one text resolve to an array of results. */
/** A query object that speaks the protocol itself, through the connection that it is given. */
export interface Submittable {
  submit(connection: any): void
}

interface Queries {
  query<R extends any[] = any[], I = any[]>(config: QueryArrayConfig<I>, values?: I): Promise<QueryArrayResult<R>>
  query<R extends QueryResultRow = any, I = any[]>(config: string | QueryConfig<I>, values?: I): Promise<QueryResult<R>>
  query<R extends any[] = any[], I = any[]>(
    config: QueryArrayConfig<I>,
    callback: QueryCallback<QueryArrayResult<R>>,
  ): void
  query<R extends QueryResultRow = any, I = any[]>(
    config: string | QueryConfig<I>,
    callback: QueryCallback<QueryResult<R>>,
  ): void
  query<R extends QueryResultRow = any, I = any[]>(
    config: string | QueryConfig<I>,
    values: I | undefined,
    callback: QueryCallback<QueryResult<R>>,
  ): void
  query<Q extends Query>(query: Q): Q
  query<S extends Submittable>(query: S): S
}

export interface Notification {
  processId: number
  channel: string
  payload?: string
}

/** The fields of an error or a notice; numbers are strings, what the server left out is undefined. */
interface ServerFields {
  length: number
  name: string
  severity?: string
  code?: string
  detail?: string
  hint?: string
  position?: string
  internalPosition?: string
  internalQuery?: string
  where?: string
  schema?: string
  table?: string
  column?: string
  dataType?: string
  constraint?: string
  file?: string
  line?: string
  routine?: string
}

export interface NoticeMessage extends ServerFields {
  message: string | undefined
}

export interface DatabaseError extends ServerFields {}
/** An error that the server reported; `code` is its SQLSTATE. */
export class DatabaseError extends Error {
  constructor(message: string, length: number, name: string)
}

/** What clients of a pool and others have in common; a type only. */
export type { ClientBase }
interface ClientBase extends Queries {}
declare class ClientBase extends EventEmitter {
  constructor(config?: string | ClientConfig)
  readonly processID: number | null
  readonly secretKey: number | null
  user?: string
  database?: string
  port: number
  host: string
  password?: ClientConfig['password']
  ssl: boolean | ConnectionOptions
  connect(): Promise<this>
  connect(callback: (error: Error, client: this) => void): void
  /** `I` = idle, `T` = in a transaction, `E` = in a failed one, null = not known yet. */
  getTransactionStatus(): 'I' | 'T' | 'E' | null
  setTypeParser(oid: number, parser: TypeParser): void
  setTypeParser(oid: number, format: 'text' | 'binary', parser: TypeParser): void
  getTypeParser(oid: number, format?: 'text' | 'binary'): TypeParser
  escapeIdentifier(name: string): string
  escapeLiteral(text: string): string
  ref(): void
  unref(): void
  /** Rows with bounded memory; leaving the loop cancels the statement on the server. heys-db's own. */
  stream<R = any>(text: string, values?: any[]): AsyncIterableIterator<R>
  stream<R = any>(config: QueryConfig, values?: any[]): AsyncIterableIterator<R>
  /** `COPY … TO STDOUT`; `rowCount` once it has ended. heys-db's own. */
  copyTo(text: string): Readable & { readonly rowCount?: number }
  /** `COPY … FROM STDIN`; finished when the server has stored everything. heys-db's own. */
  copyFrom(text: string): Writable & { readonly rowCount?: number }
  on(event: 'connect' | 'drain' | 'end', listener: () => void): this
  on(event: 'error', listener: (error: Error) => void): this
  on(event: 'notice', listener: (notice: NoticeMessage) => void): this
  on(event: 'notification', listener: (message: Notification) => void): this
  on(event: string, listener: (...args: any[]) => void): this
}

export class Client extends ClientBase {
  end(): Promise<void>
  end(callback: (error?: Error) => void): void
}

export interface PoolClient extends ClientBase {
  /** With an error or true, the connection is closed instead of kept. A second release throws. */
  release(error?: Error | boolean): void
}

export interface Pool extends Queries {}
export class Pool extends EventEmitter {
  constructor(config?: PoolConfig, Client?: PoolConfig['Client'])
  readonly totalCount: number
  readonly idleCount: number
  readonly waitingCount: number
  readonly expiredCount: number
  readonly ending: boolean
  readonly ended: boolean
  readonly options: PoolConfig & { max: number; min: number }
  connect(): Promise<PoolClient>
  connect(
    callback: (error: Error | undefined, client: PoolClient | undefined, release: PoolClient['release']) => void,
  ): void
  end(): Promise<void>
  end(callback: () => void): void
  on(event: 'connect' | 'acquire' | 'remove', listener: (client: PoolClient) => void): this
  on(event: 'release' | 'error', listener: (error: Error, client: PoolClient) => void): this
  on(event: string, listener: (...args: any[]) => void): this
}

export class TypeOverrides implements CustomTypesConfig {
  constructor(types?: CustomTypesConfig)
  setTypeParser(oid: number, parser: TypeParser): void
  setTypeParser(oid: number, format: 'text' | 'binary', parser: TypeParser): void
  getTypeParser(oid: number, format?: 'text' | 'binary'): TypeParser
}

export function escapeIdentifier(name: string): string
export function escapeLiteral(text: string): string

export const utils: {
  prepareValue(value: any): any
  normalizeQueryConfig(config: string | QueryConfig, values?: any, callback?: any): any
  escapeIdentifier(name: string): string
  escapeLiteral(text: string): string
}

/** As in pg without pg-native. */
export const native: null

// --- the shared pools -----------------------------------------------------------------------------------------------

/**
 * The shared pool, made from the environment at first use; opens no socket. With a name and
 * POOL_PER_FUNCTION_METRICS=true, the pool of that name.
 */
export function getPool(name?: string): Pool

/** Runs `fn` with a client, which is released whatever happens. Resolves what `fn` resolves. */
export function withClient<T>(fn: (client: PoolClient) => T | Promise<T>): Promise<T>

export interface TransactionOptions {
  isolation?: 'read uncommitted' | 'read committed' | 'repeatable read' | 'serializable' | (string & {})
  readOnly?: boolean
  /** How many more times to run all of it after a serialization failure or a deadlock (0). */
  retries?: number
}

/** BEGIN, `fn(client)`, COMMIT; ROLLBACK when `fn` fails. A COMMIT that the server turned into ROLLBACK rejects. */
export function withTransaction<T>(fn: (client: PoolClient) => T | Promise<T>, options?: TransactionOptions): Promise<T>

/** Ends every shared pool. A getPool() from then on makes a new one. */
export function closePool(): Promise<void>

export function getAllPools(): {
  name: string
  pool: Pool
  metrics: { total: number; idle: number; waiting: number }
}[]

export interface AdmissionOptions {
  /** Calls that run at a time; with `max` connections and k nested clients at most (max − 1) / (k − 1). */
  limit: number
  /** Of the 503 (1). */
  retryAfterSeconds?: number
  /** Left of the call's time for its answer (500). */
  marginMillis?: number
  /** The longest wait (25000). */
  waitMillis?: number
}

/** What the handler of an HTTP function answers. */
export interface HttpAnswer {
  statusCode: number
  headers?: Record<string, string>
  body?: string
}

type Handler<A extends any[], T> = (...args: A) => T | Promise<T>

/** Queues a handler's calls beyond `limit` within their deadline, else answers 503 with Retry-After. */
export function withAdmission<A extends any[], T>(
  handler: Handler<A, T>,
  options: AdmissionOptions,
): (...args: A) => Promise<T | HttpAnswer>

export interface PoolMetrics {
  total: number
  active: number
  idle: number
  waiting: number
  max: number
  /** Percent of `max` in use. */
  utilization: number
  acquires: number
  waitMs: { last: number; max: number; total: number }
  connectErrors: number
  acquireTimeouts: number
  queryTimeouts: number
  /** ISO 8601, UTC. */
  timestamp: string
}

export function getPoolMetrics(name?: string): PoolMetrics
export function getAllPoolsMetrics(): ({ name: string } & PoolMetrics)[]
/** Writes one line a pool. */
export function logPoolMetrics(name?: string): void
/** Judges by the counts alone and sends nothing; `reason` is null when healthy. */
export function getPoolHealthCheck(name?: string): { healthy: boolean; reason: string | null; metrics: PoolMetrics }
/** Each call of the handler ends with a line of metrics. */
export function withPoolMetrics<A extends any[], T>(handler: Handler<A, T>, name?: string): (...args: A) => Promise<T>

// --- the backup -----------------------------------------------------------------------------------------------------

type Setting = string | number | null

/** Settings go over the environment's variables of the same names; null takes one away. */
export interface BackupOptions {
  /** Instead of process.env. */
  env?: Record<string, string | undefined>
  onProgress?: (event: BackupProgress) => void
  signal?: AbortSignal
  /** A function's context, whose time the run must not outlast. */
  context?: { getRemainingTimeInMillis?: () => number }
  /** By then the run is over, aborted if it must be: a Date, or milliseconds since 1970. */
  deadline?: Date | number
  pgHost?: Setting
  pgPort?: Setting
  pgDatabase?: Setting
  pgUser?: Setting
  pgPassword?: Setting
  pgSslmode?: Setting
  pgSslrootcert?: Setting
  pgSslcert?: Setting
  pgSslkey?: Setting
  pgTargetSessionAttrs?: Setting
  pgDumpPath?: Setting
  poolConnectTimeout?: Setting
  s3Endpoint?: Setting
  s3Region?: Setting
  s3Bucket?: Setting
  s3AccessKeyId?: Setting
  s3SecretAccessKey?: Setting
  s3StorageClass?: Setting
  s3Sse?: Setting
  s3SseKmsKeyId?: Setting
  awsCaBundle?: Setting
  backupPrefix?: Setting
  backupRetentionDays?: Setting
  backupMinKeep?: Setting
  backupGzipLevel?: Setting
  telegramBotToken?: Setting
  telegramChatId?: Setting
  telegramApiBase?: Setting
}

export type BackupProgress =
  | { type: 'storeReady'; bucket: string; key: string }
  | { type: 'databaseReady'; host: string; serverVersion: string; pgDumpVersion: string; databaseBytes?: number }
  | { type: 'dumping'; rawBytes: number; bytes: number; uploadedBytes: number; parts: number }
  | { type: 'completing' }
  | { type: 'stored'; bytes: number }
  | { type: 'pruned'; deleted: number }
  | { type: 'warning'; message: string }
  | { type: 'other' }

export interface BackupReport {
  key: string
  bucket: string
  /** Of the stored object. */
  bytes: number
  /** Of the dump before gzip. */
  rawBytes: number
  /** Of the stored object, in hexadecimal. */
  sha256: string
  durationMs: number
  parts: number
  /** Keys of the old backups that were deleted. */
  deleted: string[]
  /** Why other old backups were kept. */
  refused: string[]
  warnings: string[]
  /** null = the standard class. */
  storageClass: string | null
  encryption: string | null
  serverVersion: string
  pgDumpVersion: string
}

/** One backup of the database to object storage. SIGINT and SIGTERM abort it first and then take their effect. */
export function runBackup(options?: BackupOptions): Promise<BackupReport>
