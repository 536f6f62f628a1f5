import { EventEmitter } from 'events'
import { Duplex, Readable, Writable } from 'stream'
import { ConnectionOptions } from 'tls'
import pgTypes = require('pg-types')
import Pg = require('.')
import TypeOverrides = require('../lib/type-overrides')

// The names are node-postgres's, and so is what they accept (js-tests/types says so for each); then come heys-db's own.

export const types: typeof pgTypes

/** What `types` of a client or a query must have. */
export interface CustomTypesConfig {
  getTypeParser: typeof pgTypes.getTypeParser
}

/** What is done for speed alone; no result differs (docs/performance.md). */
interface Speed {
  /**
   * A text seen a few times on a connection is prepared by itself. `true` (the default): where the connection is the
   * server's own; `'always'`: behind a pooler, too, which must then keep the names of its clients apart.
   */
  prepareStatements?: boolean | 'always' | undefined
  /** The same inside BEGIN … COMMIT, where a table that was changed meanwhile aborts the transaction. */
  prepareInTransactions?: boolean | undefined
  /** One-shot queries (`pool.query`) in flight on one connection when all are busy: at most 8, the default; 1 or false: none share. */
  pipelineQueries?: number | boolean | undefined
}

/** The differences from pg, each with its own switch (docs/differences-from-pg.md). */
interface Differences {
  /** Turns off every difference that follows; each can be set alone. */
  strictPg?: boolean | undefined
  /** A checked-out client's connection error is not emitted when nobody listens. */
  survivesLostClients?: boolean | undefined
  /** `pool.end()` rejects those who still wait for a client. */
  endRejectsWaiters?: boolean | undefined
  /** `query_timeout` cancels on the server, too. */
  timeoutCancels?: boolean | undefined
  /** A client released busy or in a transaction is cleaned before its next use. */
  cleansReleased?: boolean | undefined
  /** `pool.query()` keeps its connection after an error of SQL. */
  keepsAfterSqlError?: boolean | undefined
  /** An idle client whose socket shows an end or unread bytes is replaced before anybody gets it. */
  looksBeforeCheckout?: boolean | undefined
  /** Binary results reach their parsers as the bytes that the server sent. */
  intactBinary?: boolean | undefined
}

export interface ClientConfig extends Differences, Speed {
  user?: string | undefined
  database?: string | undefined
  /** A function is asked once for each connection. */
  password?: string | (() => string | Promise<string>) | undefined
  port?: number | undefined
  host?: string | undefined
  /** Goes over the other options. */
  connectionString?: string | undefined
  /** As in pg: true verifies the server's certificate. */
  ssl?: boolean | ConnectionOptions | undefined
  sslnegotiation?: 'postgres' | 'direct' | undefined
  enableChannelBinding?: boolean | undefined
  /** 0 = no limit. */
  scramMaxIterations?: number | undefined
  types?: CustomTypesConfig | undefined
  keepAlive?: boolean | undefined
  keepAliveInitialDelayMillis?: number | undefined
  /** The connection's bytes go through this instead of a socket of heys-db's own. */
  stream?: (() => Duplex | undefined) | undefined
  /** 0 = for ever. */
  connectionTimeoutMillis?: number | undefined
  /** Milliseconds, by the server. */
  statement_timeout?: false | number | undefined
  lock_timeout?: number | undefined
  idle_in_transaction_session_timeout?: number | undefined
  /** Milliseconds; then the query is rejected and cancelled on the server. */
  query_timeout?: number | undefined
  application_name?: string | undefined
  fallback_application_name?: string | undefined
  client_encoding?: string | undefined
  options?: string | undefined
  replication?: string | undefined
  binary?: boolean | undefined
  /** Sends queries without waiting for the answers of those before. */
  pipeline?: boolean | undefined
  Promise?: PromiseConstructorLike | undefined
}

export type ConnectionConfig = ClientConfig

export interface Defaults extends ClientConfig {
  poolSize?: number | undefined
  poolIdleTimeout?: number | undefined
  reapIntervalMillis?: number | undefined
  parseInputDatesAsUTC?: boolean | undefined
  /** Can be set only: true delivers int8 as numbers. */
  parseInt8?: boolean | undefined
}
export const defaults: Defaults & ClientConfig

export interface PoolConfig extends ClientConfig {
  max?: number | undefined
  min?: number | undefined
  /** 0 = never. */
  idleTimeoutMillis?: number | undefined | null
  /** 0 = never. */
  maxLifetimeSeconds?: number | undefined
  maxUses?: number | undefined
  /** Whether idle clients let the process end. */
  allowExitOnIdle?: boolean | undefined
  log?: ((...messages: any[]) => void) | undefined
  /** Runs on each new client before it is given out. */
  onConnect?: ((client: ClientBase) => void | Promise<void>) | undefined
  verify?: ((client: PoolClient, done: (error?: Error) => void) => void) | undefined
  Client?: (new () => ClientBase) | undefined
}

/** A pool's options with its defaults filled in. */
export interface PoolOptions extends PoolConfig {
  max: number
  maxUses: number
  allowExitOnIdle: boolean
  maxLifetimeSeconds: number
  idleTimeoutMillis: number | null
}

export type QueryConfigValues<T> = T extends Array<infer _Item> ? T : never

export interface QueryConfig<I = any[]> {
  text: string
  values?: QueryConfigValues<I>
  /** Prepares the statement once for each connection. */
  name?: string | undefined
  types?: CustomTypesConfig | undefined
  rows?: number | undefined
  binary?: boolean | undefined
  portal?: string | undefined
  queryMode?: 'extended' | undefined
  query_timeout?: number | undefined
  rowMode?: 'array' | undefined
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

export interface ResultBuilder<R extends QueryResultRow = any> extends QueryResult<R> {
  addRow(row: R): void
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

/** A query object that speaks the protocol itself, through the connection that it is given. */
export interface Submittable {
  submit: (connection: Connection) => void
}

/** A query with events, given to `client.query()`. */
export class Query<R extends QueryResultRow = any, I extends any[] = any> extends EventEmitter implements Submittable {
  constructor(config?: string | QueryConfig<I>, callback?: (error: Error | undefined, result: ResultBuilder<R>) => void)
  constructor(
    config?: string | QueryConfig<I>,
    values?: I,
    callback?: (error: Error | undefined, result: ResultBuilder<R>) => void,
  )
  submit: (connection: Connection) => void
  on<E extends 'row' | 'error' | 'end'>(
    event: E,
    listener: E extends 'row'
      ? (row: R, result?: ResultBuilder<R>) => void
      : E extends 'error'
        ? (error: Error) => void
        : (result: ResultBuilder<R>) => void,
  ): this
}

type Answer<T> = (error: Error, result: T) => void

/** query() of clients and pools. Several statements in one text resolve to an array of results. */
interface Queries {
  query<T extends Submittable>(query: T): T
  query<R extends any[] = any[], I = any[]>(
    config: QueryArrayConfig<I>,
    values?: QueryConfigValues<I>,
  ): Promise<QueryArrayResult<R>>
  query<R extends QueryResultRow = any, I = any>(config: QueryConfig<I>): Promise<QueryResult<R>>
  query<R extends QueryResultRow = any, I = any[]>(
    config: string | QueryConfig<I>,
    values?: QueryConfigValues<I>,
  ): Promise<QueryResult<R>>
  query<R extends any[] = any[], I = any[]>(config: QueryArrayConfig<I>, callback: Answer<QueryArrayResult<R>>): void
  query<R extends QueryResultRow = any, I = any[]>(
    config: string | QueryConfig<I>,
    callback: Answer<QueryResult<R>>,
  ): void
  query<R extends QueryResultRow = any, I = any[]>(
    text: string,
    values: QueryConfigValues<I>,
    callback: Answer<QueryResult<R>>,
  ): void
}

export interface Notification {
  processId: number
  channel: string
  payload?: string | undefined
}

/** The fields of an error or a notice; numbers are strings, what the server left out is undefined. */
interface ServerFields {
  severity: string | undefined
  code: string | undefined
  detail: string | undefined
  hint: string | undefined
  position: string | undefined
  internalPosition: string | undefined
  internalQuery: string | undefined
  where: string | undefined
  schema: string | undefined
  table: string | undefined
  column: string | undefined
  dataType: string | undefined
  constraint: string | undefined
  file: string | undefined
  line: string | undefined
  routine: string | undefined
}

export interface NoticeMessage extends ServerFields {
  readonly length: number
  readonly name: 'notice'
  readonly message: string | undefined
}

export interface DatabaseError extends ServerFields {}
/** An error that the server reported; `code` is its SQLSTATE. */
export class DatabaseError extends Error {
  constructor(message: string, length: number, name: string)
  readonly length: number
  readonly name: any
}

// --- the connection of Submittables -----------------------------------------------------------------------------------

export interface QueryParse {
  name: string
  text: string
  types: string[]
}

export interface BindConfig {
  portal?: string | undefined
  statement?: string | undefined
  binary?: string | undefined
  values?: Array<Buffer | null | undefined | string> | undefined
  valueMapper?: ((value: any, index: number) => any) | undefined
}

export interface ExecuteConfig {
  portal?: string | undefined
  rows?: string | undefined
}

export interface MessageConfig {
  type: string
  name?: string | undefined
}

/** One connection's protocol: of a client for its Submittables, or of its own. */
export class Connection extends EventEmitter {
  constructor(config?: ConnectionConfig)
  readonly stream: Duplex
  parse(query: QueryParse, more?: boolean): void
  bind(config: BindConfig | null, more?: boolean): void
  execute(config: ExecuteConfig | null, more?: boolean): void
  describe(message: MessageConfig, more?: boolean): void
  close(message: MessageConfig, more?: boolean): void
  query(text: string): void
  flush(): void
  sync(): void
  end(): void
}

// --- clients ----------------------------------------------------------------------------------------------------------

/** `I` = idle, `T` = in a transaction, `E` = in a failed one, null = not known yet. */
export type TransactionStatus = 'I' | 'T' | 'E' | null

/** What clients of a pool and others have in common. As in @types/pg it is a type alone: there is no such value. */
export interface ClientBase extends Queries {}
export class ClientBase extends EventEmitter {
  constructor(config?: string | ClientConfig)
  readonly processID: number | null
  readonly secretKey: number | null
  connect(): Promise<ClientBase>
  connect(callback: ((error: Error) => void) | ((error: null, client: ClientBase) => void)): void
  getTransactionStatus(): TransactionStatus
  setTypeParser: typeof pgTypes.setTypeParser
  getTypeParser: typeof pgTypes.getTypeParser
  escapeIdentifier: typeof escapeIdentifier
  escapeLiteral: typeof escapeLiteral
  /** Declared by @types/pg; neither pg nor heys-db has them. */
  pauseDrain(): void
  resumeDrain(): void
  ref(): void
  unref(): void
  /** Rows with bounded memory; leaving the loop cancels the statement on the server. heys-db's own. */
  stream<R = any>(text: string, values?: any[]): AsyncIterableIterator<R>
  stream<R = any>(config: QueryConfig, values?: any[]): AsyncIterableIterator<R>
  /** `COPY … TO STDOUT`; `rowCount` once it has ended. heys-db's own. */
  copyTo(text: string): Readable & { readonly rowCount?: number }
  /** `COPY … FROM STDIN`; finished when the server has stored everything. heys-db's own. */
  copyFrom(text: string): Writable & { readonly rowCount?: number }
  on<E extends 'connect' | 'drain' | 'error' | 'notice' | 'notification' | 'end'>(
    event: E,
    listener: E extends 'connect' | 'drain' | 'end'
      ? () => void
      : E extends 'error'
        ? (error: Error) => void
        : E extends 'notice'
          ? (notice: NoticeMessage) => void
          : (message: Notification) => void,
  ): this
}

export class Client extends ClientBase {
  constructor(config?: string | ClientConfig)
  user?: string | undefined
  database?: string | undefined
  port: number
  host: string
  password?: string | undefined
  ssl: boolean
  readonly pipeline: boolean
  readonly connection: Connection
  connect(): Promise<Client>
  connect(callback: ((error: Error) => void) | ((error: null, client: Client) => void)): void
  end(): Promise<void>
  end(callback: (error: Error) => void): void
}

export interface PoolClient extends Client {
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
  options: PoolOptions
  connect(): Promise<PoolClient>
  connect(
    callback: (error: Error | undefined, client: PoolClient | undefined, done: (release?: any) => void) => void,
  ): void
  end(): Promise<void>
  end(callback: () => void): void
  on<E extends 'error' | 'release' | 'connect' | 'acquire' | 'remove'>(
    event: E,
    listener: E extends 'error' | 'release' ? (error: Error, client: PoolClient) => void : (client: PoolClient) => void,
  ): this
}

/** Declared by @types/pg; there is no such value. */
export class Events extends EventEmitter {
  on(event: 'error', listener: (error: Error, client: Client) => void): this
}

export { TypeOverrides }

export function escapeIdentifier(name: string): string
export function escapeLiteral(text: string): string

export const utils: {
  prepareValue(value: any): any
  normalizeQueryConfig(config: string | QueryConfig, values?: any, callback?: any): any
  escapeIdentifier(name: string): string
  escapeLiteral(text: string): string
}

/** null, as in pg without pg-native. */
export const native: typeof Pg | null

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
