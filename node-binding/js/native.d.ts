/**
 * The addon's own exports: the border between JS and Rust. Not public; heys-db's JavaScript is its only user.
 *
 * Everything runs on the environment's own loop. Ids are small integers. No call throws for what the server did;
 * calls throw TypeError for arguments that cannot be sent (the JS side reports it through the query).
 */

/** What a failed connection or a broken one looks like before JS makes an Error of it. */
export interface RawError {
  kind: 'server' | 'io' | 'dns' | 'tls' | 'auth' | 'config' | 'protocol' | 'closed' | 'connectTimeout' | 'cancelled'
  message: string
  /** ECONNREFUSED, ENOTFOUND, SELF_SIGNED_CERT_IN_CHAIN, … */
  code?: string
  errno?: number
  syscall?: string
  address?: string
  port?: number
  hostname?: string
  /** Server errors: pairs of protocol field letter and text, and the message's length word. */
  fields?: [letter: string, text: string][]
  length?: number
}

export interface ConnectOptions {
  hosts: { host: string; port: number }[]
  database: string
  user: string
  /** When absent, onPassword is asked, and only if the server wants one. */
  password?: string
  sslMode: 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full' | 'no-verify'
  ca?: string
  cert?: string
  key?: string
  passphrase?: string
  serverName?: string
  /** 'files': the trust order of getPool and runBackup; 'given': only `ca` (JS passes Node's roots). */
  trust: 'files' | 'given'
  /** For 'files': the program's own folders, and Node's roots (PEM) where the system has none. */
  entryFolders?: string[]
  extraRoots?: string
  directTls?: boolean
  targetSessionAttrs?: string
  channelBinding?: boolean
  scramMaxIterations?: number
  params: [name: string, value: string][]
  connectTimeoutMillis?: number
  /** Milliseconds before the first probe; absent = keepalive off. */
  keepAliveMillis?: number
}

export interface Hooks {
  /** A connection attempt ended well. `params`: all ParameterStatus so far. */
  onConnect(
    request: number,
    session: number,
    pid: number,
    key: number,
    params: [string, string][],
    notices: RawError[],
    tls: boolean,
    address: string,
  ): void
  onConnectError(request: number, error: RawError): void
  /** Answer with `password(request, …)`. */
  onPassword(request: number): void
  /**
   * What a session's socket brought, at most once per batch string, several times in one wake-up; all promises that
   * these calls resolve run in one callback scope. `length` words of `words` are valid: records, each
   * `[kind, …]` as in Record below. `text` is the string of the ROWS record, if there is one (at most one a call).
   * `extra` holds the objects that records point to by their order; undefined when there are none.
   */
  onRecords(session: number, length: number, text: string | undefined, extra: unknown[] | undefined): void
  /** A RowDescription never seen before got this id. Return one kind per column (CellKind); called at most once an id. */
  onShape(shape: number, fields: RawField[]): Uint8Array | number[]
  /** The answer to cancel(): the cancel connection was closed by the server, or failed. */
  onCancelled(request: number, error: RawError | undefined): void
  /** What came on a session between rawBegin and rawEnd. */
  onRaw(session: number, bytes: Buffer): void
  /** A pool with a limit's name has something to do: `length` words, as from the `pool*` calls. */
  onPool(pool: number, length: number): void
}

export interface RawField {
  name: string
  tableID: number
  columnID: number
  dataTypeID: number
  dataTypeSize: number
  dataTypeModifier: number
  /** 'number': binary, though the caller asked for text (Flag.Float8, Flag.Timestamptz). */
  format: 'text' | 'binary' | 'number'
}

/**
 * Records in `words` (Int32), by kind:
 *   0 SHAPE      [0, shape]                      a result with columns begins
 *   1 ROWS       [1, shape, rows, kindsHold, …cells]  rows × columns cells (CellKind); text units in `text` in order
 *   2 COMPLETE   [2, command, countHi, countLo]  command: index into COMMANDS, -1: the tag is in `extra`;
 *                                                count -1,-1 = none
 *   3 EMPTY      [3]
 *   4 ERROR      [4]                             RawError in `extra`
 *   5 READY      [5, status]                     status: charCode of I, T or E
 *   6 NOTICE     [6]                             RawError in `extra`
 *   7 NOTIFY     [7]                             {channel, payload, processId} in `extra`
 *   8 PARAMETER  [8]                             [name, value] in `extra`
 *   9 SUSPENDED  [9]
 *  10 NODATA     [10]
 *  11 COPYIN     [11]                            refused; ERROR and READY follow
 *  12 COPYOUT    [12]
 *  13 PARSED     [13]                            ParseComplete
 *  14 CLOSED     [14]                            last record of a session; RawError or undefined in `extra`
 *  15 DRAINED    [15]                            all output was written after a backlog (back-pressure)
 *  16 REPEAT     [16]                            in place of ERROR: see `known`
 * COMMANDS = SELECT INSERT UPDATE DELETE BEGIN COMMIT ROLLBACK SET COPY FETCH MOVE MERGE CREATE DROP DO CALL, others by tag.
 * CellKind: 0 text, 1 int (value itself, -2147483648 = NULL), 2 bool (1, 0, -1 = NULL), 3 bytes (latin1 units).
 * Two words, low and high: 4 float8 (-1, -1 = NULL), 5 timestamptz (milliseconds since 1970 in UTC; high -2147483648 = NULL,
 * 2147483647 = infinity, -2147483647 = -infinity).
 * With kindsHold 0, cells of kinds 1 and 2 come as text (length, -1 = NULL) in this batch.
 */

/** Flags of query calls. */
export const enum Flag {
  /** Custom parsers are set for fast types: deliver every cell as text. */
  AllText = 1,
  /** Ask for binary results (extended only). */
  Binary = 2,
  /** What is in flight before it leaves no transaction open. */
  Shared = 4,
  /** float8 may come as numbers (known only). */
  Float8 = 8,
  /** timestamptz may come as numbers (known only). */
  Timestamptz = 16,
  /** A Query, unless it has a name (known only). */
  Simple = 32,
}

export interface Native {
  /** Once per environment. `words` is shared for the environment's life; the addon keeps a reference. */
  init(hooks: Hooks, words: Int32Array): void
  connect(request: number, options: ConnectOptions): void
  password(request: number, password: string | null, errorMessage?: string): void
  /** Gives a connection attempt up; onConnectError (kind 'cancelled') still comes. */
  /**
   * As `connect`, over a stream of JavaScript's: logs in over one end of a pair of sockets and returns the descriptor of
   * the other, which the caller owns.
   */
  connectOver(request: number, options: ConnectOptions): number
  abortConnect(request: number): void

  query(session: number, text: string, flags: number): void
  /** values: strings, Buffers/TypedArrays/DataViews (binary) and nulls only; `text` null = already prepared. */
  extended(
    session: number,
    name: string,
    text: string | null,
    values: readonly (string | ArrayBufferView | null)[] | null,
    flags: number,
    portal: string,
    maxRows: number,
  ): void
  /** The number means this text from now on; numbers are not used again. */
  text(id: number, text: string): void
  /** Forgets every text. */
  clearTexts(): void
  /**
   * As `extended`, or `query` (Flag.Simple), with a text's number: it may go out under a name of the addon's own. A REPEAT
   * record in place of ERROR says that only the name is to blame: send it with those after its READY.
   */
  known(session: number, text: number, values: readonly (string | ArrayBufferView | null)[] | null, flags: number): void
  /** Lets `known` give names on this session. */
  prepareByItself(session: number, inTransactions: boolean, behindPooler: boolean): void
  /** Terminate, flush, close: CLOSED comes. */
  close(session: number): void
  /** Close at once: CLOSED comes. */
  destroy(session: number): void
  ref(session: number): void
  unref(session: number): void
  /** False when the socket shows end of file, an error or unread bytes. */
  peek(session: number): boolean
  cancel(request: number, session: number): void
  /** Pause and resume reading from the socket. */
  /** JavaScript speaks the protocol until rawEnd; false when the session is busy or ended. */
  rawBegin(session: number): boolean
  /** Sends bytes as they are; false: the socket is full, and a DRAINED record comes. */
  rawWrite(session: number, bytes: Uint8Array): boolean
  /** After a ReadyForQuery of `status` (I, T or E), with what came behind it. */
  rawEnd(session: number, unread: Uint8Array, status: string): void
  pause(session: number): void
  resume(session: number): void

  /**
   * The pool machine of core/pool. Every call returns the number of words written to `words`: records
   * [1 CONNECT conn] [2 PROBE conn] [3 DELIVER waiter conn fresh] [4 FAIL waiter why conn] (why: 0 wait timeout, 1 connect timeout,
   * 2 connect error, 3 ended) [5 RESET conn] [6 IDLE conn] [7 CLOSE conn expired] [8 ENDED]. A connection bound to a
   * session by poolBind is probed by the addon itself, so PROBE comes only for others; one bound to -1 is taken as healthy.
   * Errors: -1 not held, -2 already ended.
   */
  poolNew(
    max: number,
    min: number,
    idleMillis: number,
    acquireMillis: number,
    lifetimeMillis: number,
    maxUses: number,
    endFailsWaiters: boolean,
    resetMillis: number,
    /** Pools of one name keep `max` together, over all threads of the process. */
    limit: string | undefined,
    /** One-shot queries that may be in flight on one connection. */
    maxInFlight: number,
  ): number
  /** The waiter's id is returned through words[0]; records begin at words[1]. */
  poolAcquire(pool: number): number
  /** The same for one query with this text's number (0: none): it may be sent behind others, and others behind it. */
  poolAcquireQuery(pool: number, text: number): number
  poolCancel(pool: number, waiter: number): number
  poolBind(pool: number, conn: number, session: number): void
  poolConnected(pool: number, conn: number): number
  poolConnectFailed(pool: number, conn: number): number
  poolProbed(pool: number, conn: number, healthy: boolean): number
  /** how: 0 reuse, 1 dirty, 2 destroy. */
  poolRelease(pool: number, conn: number, how: number): number
  poolResetDone(pool: number, conn: number, clean: boolean): number
  poolLost(pool: number, conn: number): number
  poolClosed(pool: number, conn: number): number
  poolTick(pool: number): number
  poolEnd(pool: number): number
  /** Milliseconds until poolTick must be called; -1 = never. */
  poolWait(pool: number): number
  poolTotal(pool: number): number
  poolIdle(pool: number): number
  poolWaiting(pool: number): number
  poolExpired(pool: number): number
  poolFree(pool: number): void

  /** heys settings from an environment: the shared pool's options and ConnectOptions, HEYS defaults applied. */
  environment(env: Record<string, string | undefined>): {
    pool: { max: number; idleTimeoutMillis: number; connectionTimeoutMillis: number; query_timeout: number }
    connect: ConnectOptions
    perFunctionMetrics: boolean
    /** Whether the system has a store of root certificates. */
    systemRoots: boolean
    logLevel: string
  }

  /**
   * One backup. Settings come from `env`; `roots` are Node's root certificates (PEM) for when the system has none; by
   * `millisLeft` from now everything is over, what must be undone included.
   */
  backup(
    request: number,
    env: Record<string, string | undefined>,
    overrides: Record<string, unknown>,
    roots: string,
    entryFolders: string[],
    millisLeft: number | undefined,
    onProgress: (event: object) => void,
    onDone: (error: RawError | null, report: object | null) => void,
  ): void
  backupCancel(request: number, why: string): void
}
