'use strict'

/**
 * One fault for each behaviour that a caller of node-postgres can see: what it breaks in node-binding/js, and the test
 * file that must notice. What the pool's machine decides in Rust (who is served first, which client is taken, what
 * counts) is broken through what JavaScript tells it.
 */

const fault = (test, file, name, from, to) => ({ name, test, file, from, to })
const pool = (...rest) => fault('pool', 'pool.js', ...rest)
const client = (...rest) => fault('client', 'client.js', ...rest)
const query = (...rest) => fault('query', 'client.js', ...rest)
const result = (...rest) => fault('query', 'query.js', ...rest)

/** In a message: the test that knows its words notices. */
const worded = (make, words) => make(`the words "${words}"`, words, `not ${words}`)

const faults = [
  // --- the pool's options
  pool('max', 'own.max || own.poolSize || 10', '(own.max || own.poolSize || 10) + 1'),
  pool('the default of idleTimeoutMillis', 'own.idleTimeoutMillis = 10000', 'own.idleTimeoutMillis = 10001'),
  pool('idleTimeoutMillis', 'idleTimeoutMillis || 0,', '0,'),
  pool('connectionTimeoutMillis', 'connectionTimeoutMillis || 0,', '0,'),
  pool('min', '      max,\n      min,', '      max,\n      0,'),
  pool('maxUses', 'Number.isFinite(maxUses) ? maxUses : 0', '0'),
  pool('maxLifetimeSeconds', 'maxLifetimeSeconds * 1000,\n      Number', '0,\n      Number'),
  pool('the option Client', 'own.Client || ClientClass || Client', 'Client'),
  pool('the option Promise', 'this.Promise = own.Promise || Promise', 'this.Promise = Promise'),
  pool('the option log', 'this.log = own.log || noop', 'this.log = noop'),
  pool('onConnect', 'if (!onConnect) return', 'return'),
  pool(
    'an onConnect that fails',
    '(error) => client.end(() => this._openFailed(conn, client, error))',
    '() => this._ready(conn, client)',
  ),
  pool('verify', 'if (!fresh || !this.options.verify) {', 'if (this !== null) {'),

  // --- its events
  pool('the event connect', "this.emit('connect', client)", 'void client'),
  pool(
    'the event acquire',
    "if (this.listenerCount('acquire') > 0) this.emit('acquire', client)\n      waiter",
    'waiter',
  ),
  pool('the event acquire of connect()', "this.emit('acquire', client)\n    client.release", 'client.release'),
  pool('the event release', "this.emit('release', error, client)", 'void error'),
  pool('the event remove', "this.emit('remove', client)", 'void client'),
  pool('the event error', "this.emit('error', error, client)", 'void error'),
  pool('error.client', 'error.client = client', 'void client'),

  // --- its calls
  pool('a client is never handed over at once', 'if (later) process', 'if (later === null) process'),
  pool(
    'the callback gets a release function',
    'this.callback(undefined, client, client.release)',
    'this.callback(undefined, client)',
  ),
  pool(
    'the callback of a failure gets a function, too',
    'this.callback(error, undefined, noop)',
    'this.callback(error)',
  ),
  pool('a second release throws', 'if (released) throw', 'if (released === null) throw'),
  pool(
    'release(error) destroys',
    'this._release(client, error, Boolean(error))',
    'this._release(client, error, false)',
  ),
  pool(
    'end() waits for clients that are out',
    '    else this._act(this._native.poolEnd(this._id))\n',
    '    else this._finishEnd()\n',
  ),
  pool(
    'pool.query() gives its client back',
    'if (task.shares) this._releaseShared(client, failed ? error : null, failed && !keep)',
    'if (task.shares) void keep',
  ),
  worded(pool, 'timeout exceeded when trying to connect'),
  worded(pool, 'Connection terminated due to connection timeout'),
  worded(pool, 'Cannot use a pool after calling end on the pool'),
  worded(pool, 'Called end on pool more than once'),
  worded(pool, 'Release called on client which has already been released to the pool.'),
  worded(pool, 'Passing a function as the first parameter to pool.query is not supported'),

  // --- connecting
  client('the event connect of a client', "this._safely(() => this.emit('connect'))", 'void 0'),
  client('the event end', "process.nextTick(() => this.emit('end'))", 'void 0'),
  client('processID', 'this.processID = pid', 'this.processID = null'),
  client(
    'passwords are not enumerated',
    'enumerable: false,\n      writable: true,\n      value: parameters.password',
    'enumerable: true,\n      writable: true,\n      value: parameters.password',
  ),
  client(
    'a password function is asked',
    '.then(() => this.password(this.connectionParameters))',
    ".then(() => 'secret')",
  ),
  client('the password file', 'found === undefined ? null : found', 'null'),
  worded(client, 'Client has already been connected. You cannot reuse a client.'),
  worded(client, 'Password must be a string'),
  worded(client, 'SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string'),
  fault('client', 'errors.js', 'codes of sockets', "'errno', 'code',", "'errno',"),
  fault('client', 'errors.js', 'the words "timeout expired"', "'timeout expired'", "'too late'"),
  fault(
    'client',
    'parameters.js',
    'a URL goes over sibling options',
    'Object.assign({}, config, parseUrl(config.connectionString))',
    'Object.assign(parseUrl(config.connectionString), config)',
  ),
  fault('client', 'parameters.js', 'the PG* variables', 'process.env[variable])', 'undefined)'),
  fault('client', 'parameters.js', 'application_name', "out.push(['application_name', String(name)])", 'void 0'),
  fault('client', 'parameters.js', 'statement_timeout', 'out.push([key, String(parseInt(this[key], 10))])', 'void 0'),

  // --- the end of a client
  client('the end of a lost connection is an error', '      this._emitError(error)\n      return', '      return'),
  worded(client, 'Connection terminated unexpectedly'),
  worded(client, 'Client was closed and is not queryable'),
  worded(client, 'Client has encountered a connection error and is not queryable'),
  client('end() resolves for what never connected', 'if (!this._started || this._ended) {', 'if (this._ended) {'),
  worded(client, 'Query read timeout'),
  client(
    'a query that timed out in the queue is not sent',
    'if (queued >= 0) this._queue.splice(queued, 1)\n    else if (this.pipeline)',
    'if (queued >= 0) void 0\n    else if (this.pipeline)',
  ),
  client(
    'types of a client',
    'if (task.types === undefined && (this._overrides !== null || this._userTypes)) task.types = this._types',
    '',
  ),
  client('types of a query', 'if (task.types === undefined && (this', 'if ((this'),
  fault('client', 'utils.js', 'escapeIdentifier', `'"'`, `"'"`),

  // --- queries
  worded(query, 'Client was passed a null or undefined query'),
  worded(query, 'callback is not a function'),
  worded(query, 'A query must have either text or a name. Supplying neither is unsupported.'),
  worded(query, 'Query values must be an array'),
  query('a name has one text', 'text !== known.text', 'text === null'),
  query(
    'a named statement is parsed once',
    "const sql = known === undefined ? text || '' : null",
    "const sql = text || ''",
  ),
  query('a name whose text was wrong is free again', 'this._statements.delete(task.name)', 'void 0'),
  query(
    'queries run in the order of the calls',
    'const task = this._queue.shift()\n    this._active',
    'const task = this._queue.pop()\n    this._active',
  ),
  query('the event drain', "this._queue.length === 0) this.emit('drain')", 'this._queue.length < 0) this.emit(null)'),
  query('getTransactionStatus()', "status === 73 ? 'I' : status === 84 ? 'T' : 'E'", "'I'"),
  query(
    'the event notice',
    "if (kind === NOTICE) this._safely(() => this.emit('notice', noticeFromRaw(extra)))",
    'if (kind === NOTICE) void 0',
  ),
  query('the event notification', "this.emit('notification', new NotificationResponseMessage(extra))", 'void 0'),
  result('the extended protocol only where it is needed', 'this.values && this.values.length > 0)', 'this.values)'),
  result('queryMode', "this.queryMode === 'extended' || this.name", 'this.name'),
  result(
    'several statements give an array',
    'if (!Array.isArray(this.results)) this.results = [this.result]',
    'if (!Array.isArray(this.results)) this.results = []',
  ),
  result(
    'the config stays as it was',
    'else this.copy(config)',
    'else this.copy(Object.assign(config, { text: config.text }))',
  ),
  result('rowCount is null where the tag has none', 'if (high >= 0) result.rowCount = high', 'result.rowCount = high'),
  result('oid of INSERT', 'if (command === INSERT) result.oid = 0', ''),
  result(
    'a parser that throws',
    'this.parserFailed) return this.settle(this.parserFailure, undefined)',
    'this.parserFailed === null) return',
  ),
  result('the stack leads to the caller', 'Error.captureStackTrace(error)', 'void 0'),
  result('the event row', "this.emitter.emit('row', row, this.result)", 'void row'),
  result('the event end of a Query', "this.emitter.emit('end', results)", 'void 0'),
  result('the event error of a Query', "this.emitter.emit('error', error)", 'void 0'),
  fault('query', 'result.js', 'rowMode array', "rowMode === 'array'", 'rowMode === null'),
  fault(
    'query',
    'decode.js',
    'the last of two equal names wins',
    'last.set(field.name, i)',
    'last.has(field.name) || last.set(field.name, i)',
  ),
  fault(
    'query',
    'errors.js',
    'fields that the server left out are undefined',
    'target[property] = byLetter.get(letter)',
    'if (byLetter.has(letter)) target[property] = byLetter.get(letter)',
  ),
  fault('query', 'errors.js', 'the name of an error', "raw.length, 'error')", "raw.length, 'DatabaseError')"),
  fault('query', 'errors.js', 'the position of an error', "['P', 'position'],", ''),

  // --- values
  fault('values', 'values.js', 'dates in local time', ': localDate(d)', ': utcDate(d)'),
  fault(
    'values',
    'values.js',
    'parseInputDatesAsUTC',
    'defaults.parseInputDatesAsUTC ? utcDate(d)',
    'defaults.nothing ? utcDate(d)',
  ),
  fault('values', 'values.js', 'dates before Christ', "(before ? ' BC' : '')", "''"),
  fault('values', 'values.js', 'elements of arrays are quoted', "'\\\\$&'", "'$&'"),
  fault('values', 'values.js', 'views show their own bytes', 'view.byteOffset, view.byteLength', '0'),
  fault(
    'types',
    'types.js',
    'timestamps are local',
    'return new Date(year(s), two(s, 5) - 1, two(s, 8), two(s, 11)',
    'return new Date(year(s), two(s, 5), two(s, 8), two(s, 11)',
  ),
  fault(
    'types',
    'types.js',
    'offsets of timestamptz',
    'sign === 43 ? -offset : offset',
    'sign === 43 ? offset : -offset',
  ),
  fault(
    'types',
    'types.js',
    'dates',
    'return new Date(year(s), two(s, 5) - 1, two(s, 8))',
    'return new Date(Date.UTC(year(s), two(s, 5) - 1, two(s, 9)))',
  ),
  fault('types', 'types.js', 'int8 stays text', '[20, AS_TEXT]', '[20, AS_INT]'),
  fault(
    'types',
    'types.js',
    'json is parsed',
    'CONVERT[AS_JSON] = (s) => JSON.parse(s)',
    'CONVERT[AS_JSON] = (s) => s',
  ),
  fault('types', 'types.js', 'bytea', "Buffer.from(s.slice(2), 'hex')", "Buffer.from(s, 'hex')"),

  // --- Submittables, streams of one's own
  fault(
    'submittables',
    'client-connection.js',
    'the event parameterStatus',
    "this.emit('parameterStatus'",
    "this.emit('nothing'",
  ),
  client('pipeline', 'this.pipeline = Boolean(options.pipeline)', 'this.pipeline = false'),
  fault('query', 'decode.js', 'columnID', 'this.columnID = raw.columnID', 'this.columnID = 0'),
  fault(
    'submittables',
    'client.js',
    'notices of Submittables',
    "if (message.name === 'notice')",
    "if (message === 'notice')",
  ),
  fault(
    'submittables',
    'client.js',
    'notifications of Submittables',
    "else if (message.name === 'notification')",
    "else if (message === 'notification')",
  ),
  fault(
    'submittables',
    'submitted.js',
    'a Submittable on a lost connection',
    'if (this.settled || this.failed) return',
    'if (this !== null) return',
  ),
  fault('submittables', 'client-connection.js', 'the event end of a connection', "this.emit('end')", 'void 0'),
  fault(
    'submittables',
    'client-connection.js',
    'errors of Submittables are ours',
    "if (message.name === 'error') message = ours(message)",
    '',
  ),
  fault('stream-option', 'client.js', 'the option stream', 'if (options.stream || options.connection ||', 'if ('),
  fault(
    'stream-option',
    'stream-driver.js',
    'the error of a stream',
    'if (this.error === undefined) this.error = error',
    '',
  ),
  fault('stream-option', 'tls.js', 'TLS options of Node', 'honoured(key))', 'honoured(key) || true)'),
  fault(
    'stream-option',
    'stream-driver.js',
    'the time that a stream may take',
    'if (limit > 0 && client._pool === null) {',
    'if (limit < 0) {',
  ),

  // --- what is done for speed
  fault('heys/prepare', 'speed.js', 'prepareStatements', '({ prepareStatements: true,', '({ prepareStatements: false,'),
  fault(
    'heys/prepare',
    'client.js',
    'a name that fails is repeated',
    'if (task.repeats && !task.settled) this._repeat(task)',
    'if (task === undefined) this._repeat(task)',
  ),
  fault('heys/prepare', 'client.js', 'prepareInTransactions', 'prepareInTransactions === true,', 'false,'),
  fault(
    'heys/pipeline',
    'pool.js',
    'pipelineQueries',
    'length = native.poolAcquireQuery(this._id, waiter.textId)',
    'length = native.poolAcquire(this._id)',
  ),
  fault('heys/pipeline', 'pool.js', 'watched checkouts are not shared', "this.listenerCount('acquire') === 0 &&", ''),
  fault('heys/pipeline', 'texts.js', 'forgotten texts', 'return id > forgotten', 'return id > 0'),
  fault(
    'heys/pipeline',
    'client.js',
    'a follower given up is cancelled at its turn',
    'next.shares && next.settled &&',
    'next.shares === 1 &&',
  ),
  fault(
    'heys/pipeline',
    'client.js',
    'a cancel for the head alone',
    'this._session >= 0 && this._active === task) this._cancelActive()',
    'this._session >= 0) this._cancelActive()',
  ),
  fault(
    'heys/beyond-pg',
    'client.js',
    'a lost cancel is sent again',
    'if (wait < Infinity && runs())',
    'if (wait < 0)',
  ),
  fault(
    'heys/pipeline',
    'pool.js',
    'an early answer releases later',
    'task.shares && task.inFlight) {',
    'task.shares && task.inFlight === 1) {',
  ),
  fault('heys/numbers', 'numbers.js', 'floats written as PostgreSQL writes them', 'power > 14', 'power > 20'),
  fault('heys/numbers', 'numbers.js', 'years that are not ordinary', 'above: -13000', 'above: -130000'),
  fault('heys/numbers', 'decode.js', 'NULL among numbers', '=== -1 && S[0] === -1 ?', '=== -2 && S[0] === -1 ?'),
  fault('heys/numbers', 'decode.js', 'their format is text', "raw.format === 'number' ? 'text' :", ''),
  fault(
    'heys/numbers',
    'client.js',
    'parsers of a query take texts',
    'task.types === undefined ? numbersTaken() : 0',
    'numbersTaken()',
  ),
  fault(
    'heys/numbers',
    'types.js',
    'global parsers take texts',
    'isDefault(701) ? TAKE_FLOAT8',
    'loaded ? TAKE_FLOAT8',
  ),
  fault('heys/types', 'types.js', 'numbers of many digits', 'digits > Number.MAX_SAFE_INTEGER ||', ''),
]

module.exports = { faults }
