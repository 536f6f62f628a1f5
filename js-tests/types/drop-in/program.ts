// A program typed for pg, of every export and overload of @types/pg. It must compile against both (typings.test.js).

import { readFileSync } from 'fs'
import { Duplex, Readable, Writable } from 'stream'
import * as pg from 'pg'
import {
  BindConfig,
  Client,
  ClientBase,
  ClientConfig,
  Connection,
  ConnectionConfig,
  CustomTypesConfig,
  DatabaseError,
  Defaults,
  Events,
  ExecuteConfig,
  FieldDef,
  MessageConfig,
  Notification,
  Pool,
  PoolClient,
  PoolConfig,
  PoolOptions,
  Query,
  QueryArrayConfig,
  QueryArrayResult,
  QueryConfig,
  QueryConfigValues,
  QueryParse,
  QueryResult,
  QueryResultBase,
  QueryResultRow,
  Result,
  ResultBuilder,
  Submittable,
  TransactionStatus,
  TypeOverrides,
  defaults,
  escapeIdentifier,
  escapeLiteral,
  native,
  types,
} from 'pg'
import ConnectionParameters = require('pg/lib/connection-parameters')
import Overrides = require('pg/lib/type-overrides')

interface User {
  id: number
  name: string | null
}

const custom: CustomTypesConfig = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') => (format === 'binary' ? Number : types.getTypeParser(oid)),
}

const full: ClientConfig = {
  user: 'u',
  database: 'd',
  password: async () => 'p',
  port: 5432,
  host: 'h',
  connectionString: 'postgres://h/d',
  keepAlive: true,
  stream: () => new Duplex(),
  statement_timeout: false,
  ssl: {
    ca: readFileSync('ca'),
    rejectUnauthorized: true,
    checkServerIdentity: () => undefined,
    minVersion: 'TLSv1.2',
  },
  enableChannelBinding: true,
  sslnegotiation: 'direct',
  query_timeout: 1,
  lock_timeout: 1,
  keepAliveInitialDelayMillis: 1,
  idle_in_transaction_session_timeout: 1,
  application_name: 'a',
  fallback_application_name: 'f',
  connectionTimeoutMillis: 1,
  types: custom,
  options: '-c x=y',
  client_encoding: 'UTF8',
  pipeline: true,
}
const empty: ClientConfig = { user: undefined, password: undefined, ssl: undefined, types: undefined, port: undefined }
const same: ConnectionConfig = full

class Mine extends Client {
  constructor() {
    super({ host: 'h' })
  }
}

const poolConfig: PoolConfig = {
  ...full,
  ssl: true,
  max: 1,
  min: 0,
  idleTimeoutMillis: null,
  log: (...messages: any[]) => messages.length,
  Promise,
  allowExitOnIdle: true,
  maxUses: 7,
  maxLifetimeSeconds: 60,
  Client: Mine,
  onConnect: (client: ClientBase) => {
    client.getTransactionStatus()
  },
  verify: (client, done) => client.query('SELECT 1', (error) => done(error)),
}

export async function pools(): Promise<void> {
  const pool = new Pool(poolConfig)
  new Pool()
  const options: PoolOptions = pool.options
  options.max.toFixed(options.maxUses)
  const idle: number | null = options.idleTimeoutMillis
  const counts: number = pool.totalCount + pool.idleCount + pool.waitingCount + pool.expiredCount
  const flags: boolean = pool.ending || pool.ended
  pool.on('error', (error: Error, client) => `${error.message} ${client.host} ${counts} ${flags} ${idle}`)
  pool.on('release', (error, client: PoolClient) => [error, client])
  pool
    .on('connect', (client) => client.query('SELECT 1'))
    .on('acquire', (client: PoolClient) => client.release())
    .on('remove', (client) => client.port.toFixed())
  pool.connect((error, client, done) => {
    if (error) return done(error)
    client?.query('SELECT 1')
    done(true)
    done()
  })
  const client: PoolClient = await pool.connect()
  client.release(true)
  client.release(new Error('x'))
  const asClient: Client = client
  await asClient.end()
  await pool.end()
  pool.end(() => undefined)
  const mapped: (string | null)[] = (await pool.query<User>('SELECT * FROM users')).rows.map((row) => row.name)
  mapped.length.toFixed()
}

export async function queries(on: ClientBase | Pool, client: ClientBase, pool: Pool): Promise<void> {
  on.getMaxListeners()
  for (const each of [client, pool]) {
    const anything: QueryResult = await each.query('SELECT 1')
    anything.rows[0].whatever.deep
  }
  const typed: QueryResult<User> = await client.query<User>('SELECT $1', [1, 'a', null, new Date(), Buffer.alloc(1)])
  const id: number = typed.rows[0].id
  const count: number | null = typed.rowCount
  const field: FieldDef = typed.fields[0]
  field.name +
    field.format +
    (field.tableID + field.columnID + field.dataTypeID + field.dataTypeSize + field.dataTypeModifier)
  const base: QueryResultBase = typed
  base.command.trim() + base.oid.toFixed() + id + count
  const values: QueryConfigValues<[number, string]> = [1, 'a']
  const config: QueryConfig<[number, string]> = { text: 'SELECT $1', values, name: 'n', types: custom }
  await client.query(config)
  await client.query<User, [number, string]>(config)
  await client.query(config, [2, 'b'])
  await pool.query(config)
  await pool.query<User>({ text: 'SELECT 1', name: undefined, types: undefined })
  const arrays: QueryArrayConfig = { text: 'SELECT 1', rowMode: 'array' }
  const first: QueryArrayResult<[number, string]> = await client.query<[number, string]>(arrays)
  first.rows[0][1].trim()
  const second = await pool.query({ text: 'SELECT $1', rowMode: 'array' }, [1])
  second.rows[0][0].anything
  const constant = { text: 'SELECT 1', rowMode: 'array' } as const
  ;(await client.query(constant)).rows[0].length.toFixed()
  client.query(arrays, (error, result) => error || result.rows[0].length)
  client.query('SELECT 1', (error, result) => error?.message || result.rows)
  client.query<User>(config, (error: Error, result: QueryResult<User>) => result.rows[0].name)
  client.query('SELECT $1', [1], (error, result) => result.rowCount)
  client.query<User, number[]>('SELECT $1', [1], (_error, result) => result.rows[0].id.toFixed())
  pool.query('SELECT $1', ['a'], (error, result) => result.rows.length)
  pool.query('SELECT 1', (error, result) => result.rows.length)
  pool.query(arrays, (_error, { rows }) => rows[0].length)
  pool.query<User>('SELECT 1', (_error, { rows }) => rows[0].name)
}

class Own implements Submittable {
  rows: string[] = []
  submit(connection: Connection): void {
    const parse: QueryParse = { name: '', text: 'SELECT 1', types: ['25'] }
    const bind: BindConfig = { portal: '', statement: '', binary: '', values: [Buffer.alloc(0), null, 'a'] }
    const execute: ExecuteConfig = { portal: '', rows: '1' }
    const message: MessageConfig = { type: 'P', name: '' }
    connection.parse(parse, true)
    connection.bind({ ...bind, valueMapper: (value, index) => [value, index] }, true)
    connection.bind(null, false)
    connection.describe(message, true)
    connection.execute(execute, true)
    connection.execute(null, false)
    connection.close(message, false)
    connection.flush()
    connection.sync()
    connection.query('SELECT 1')
    connection.stream.write('x')
    connection.end()
    connection.on('anything', (x) => x)
  }
}

export function objects(client: Client, pool: Pool): void {
  const own: string[] = client.query(new Own()).rows
  pool.query(new Own()).rows.length.toFixed(own.length)
  const query = client.query(new Query<User>('SELECT 1', [1]))
  query.on('row', (row, result) => row.id.toFixed(result?.rows.length))
  query.on('row', (row: User, result?: ResultBuilder<User>) => result?.addRow(row))
  query.on('error', (error: Error) => error.stack)
  query.on('end', (result) => result.rowCount).on('end', (result: ResultBuilder<User>) => result.fields[0].name)
  new Query()
  new Query('SELECT 1', (error: Error | undefined, result) => error || result.rows)
  new Query<User, [number]>({ text: 'SELECT $1', values: [1] }, [1], (_error, result) =>
    result.addRow({ id: 1, name: '' }),
  )
  query.submit(new Connection(full))
  new Connection().stream.end()
}

export async function clients(): Promise<void> {
  const client = new Client('postgres://h/d')
  new Client(full)
  new Client(empty)
  new Client()
  new Client(same)
  const connected: Client = await client.connect()
  client.connect((error: Error) => error.message)
  client.connect((_error: null, me: Client) => me.port.toFixed())
  client.on('connect', () => undefined).on('drain', () => undefined)
  client.on('end', () => undefined)
  client.on('error', (error) => error.message.trim())
  client.on('notice', (notice) => `${notice.message} ${notice.severity} ${notice.length.toFixed()} ${notice.hint}`)
  client.on(
    'notification',
    (message: Notification) => `${message.channel}${message.payload}${message.processId.toFixed()}`,
  )
  const status: TransactionStatus = client.getTransactionStatus()
  client.setTypeParser(20, (text: string) => BigInt(text))
  client.setTypeParser(types.builtins.INT8, 'text', Number)
  client.getTypeParser(20)('1')
  client.getTypeParser(20, 'binary')(Buffer.alloc(8))
  client.escapeIdentifier('a') + client.escapeLiteral('b') + escapeIdentifier('c') + escapeLiteral('d') + status
  const text: string | undefined = client.user || client.database || client.password
  const secure: boolean = client.ssl && client.pipeline
  client.connection.on('x', () => `${text}${secure}${client.host}${client.port}`)
  const to: Readable = client.copyTo('COPY t TO STDOUT')
  const from: Writable = client.copyFrom('COPY t FROM STDIN')
  to.pipe(from)
  client.pauseDrain()
  client.resumeDrain()
  client.end((error: Error) => error)
  await connected.end()
  const subclass: ClientBase = new (class extends ClientBase {})()
  await (await subclass.connect()).query('SELECT 1')
}

export function rest(error: unknown): string | undefined {
  if (error instanceof DatabaseError) {
    const parts = [error.severity, error.code, error.detail, error.hint, error.position, error.internalPosition]
    parts.push(error.internalQuery, error.where, error.schema, error.table, error.column, error.dataType)
    parts.push(error.constraint, error.file, error.line, error.routine, error.name, error.message)
    return parts.join() + error.length.toFixed()
  }
  const settings: Defaults = defaults
  settings.poolSize = settings.poolIdleTimeout = settings.reapIntervalMillis = 1
  defaults.binary = defaults.parseInt8 = defaults.parseInputDatesAsUTC = true
  defaults.user = 'u'
  defaults.ssl = { rejectUnauthorized: false }
  types.setTypeParser(types.builtins.NUMERIC, parseFloat)
  types.setTypeParser(20, 'text', (value) => value.length)
  types.arrayParser('{}', (entry) => entry)
  const overrides = new TypeOverrides(custom)
  overrides.setTypeParser(20, (text) => text.length)
  overrides.setTypeParser(20, 'text', (text: string) => text)
  overrides.setTypeParser(20, 'binary', (bytes: Buffer) => bytes.length)
  overrides.getTypeParser(20, 'text')
  const inner: TypeOverrides = new Overrides()
  new Client({ types: inner })
  const result = new Result<User>('array', types)
  result.rows[0]?.id.toFixed(result.fields.length)
  const row: QueryResultRow = { a: 1 }
  new Events().on('error', (failure: Error, client: Client) => [failure, client, row])
  const parameters = new ConnectionParameters({ host: 'h', keepalives: 1 })
  parameters.getLibpqConnectionString((failure, text) => failure || text?.trim())
  const other: typeof pg | null = native
  return other ? new other.Client().host : new pg.Pool().options.host || parameters.host
}
