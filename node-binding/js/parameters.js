'use strict'

const defaults = require('./defaults')

/** Where a client connects to and how: options, then connectionString over them, then PG* variables, then defaults. */

function parseUrl(text) {
  return require('./vendor').connectionString.parse(text)
}

/** The option, else the variable (named after the option unless told), else the default. */
function choose(key, config, variable = 'PG' + key.toUpperCase()) {
  return config[key] || (variable && process.env[variable]) || defaults[key]
}

function sslFromEnvironment() {
  switch (process.env.PGSSLMODE) {
    case 'disable':
      return false
    case 'prefer':
    case 'require':
    case 'verify-ca':
    case 'verify-full':
      return true
    case 'no-verify':
      return { rejectUnauthorized: false }
    default:
      return defaults.ssl
  }
}

function hidden(target, key, value) {
  Object.defineProperty(target, key, { configurable: true, enumerable: false, writable: true, value })
}

function sslFrom(config) {
  const given = config.ssl === undefined ? sslFromEnvironment() : config.ssl
  const ssl = given === 'true' ? true : given === 'no-verify' ? { rejectUnauthorized: false } : given
  if (ssl && ssl.key) Object.defineProperty(ssl, 'key', { enumerable: false })
  return ssl
}

function negotiationFrom(config, ssl) {
  const wanted = choose('sslnegotiation', config, 'PGSSLNEGOTIATION')
  if (wanted !== undefined && wanted !== 'postgres' && wanted !== 'direct') {
    throw new Error(`Invalid sslnegotiation value: "${wanted}". Valid values are "postgres" and "direct".`)
  }
  if (wanted === 'direct' && !ssl) throw new Error('sslnegotiation=direct requires SSL to be enabled')
  return wanted
}

class ConnectionParameters {
  constructor(given) {
    let config = typeof given === 'string' ? parseUrl(given) : given || {}
    if (config.connectionString) config = Object.assign({}, config, parseUrl(config.connectionString))

    this.user = choose('user', config)
    this.database = choose('database', config)
    if (this.database === undefined) this.database = this.user
    this.port = parseInt(choose('port', config), 10)
    this.host = choose('host', config)
    hidden(this, 'password', choose('password', config))
    this.binary = choose('binary', config)
    this.options = choose('options', config)
    this.ssl = sslFrom(config)
    this.sslnegotiation = negotiationFrom(config, this.ssl)
    // Only a connection string can ask for libpq's meaning of sslmode; it is kept for tls.js.
    hidden(this, 'libpqSslMode', config.uselibpqcompat === 'true' ? config.sslmode : undefined)
    this.client_encoding = choose('client_encoding', config)
    this.replication = choose('replication', config)
    this.isDomainSocket = (this.host || '').startsWith('/')
    this.application_name = choose('application_name', config, 'PGAPPNAME')
    this.fallback_application_name = choose('fallback_application_name', config, false)
    this.statement_timeout = choose('statement_timeout', config, false)
    this.lock_timeout = choose('lock_timeout', config, false)
    this.idle_in_transaction_session_timeout = choose('idle_in_transaction_session_timeout', config, false)
    this.query_timeout = choose('query_timeout', config, false)

    if (config.connectionTimeoutMillis === undefined) this.connect_timeout = process.env.PGCONNECT_TIMEOUT || 0
    else this.connect_timeout = Math.floor(config.connectionTimeoutMillis / 1000)
    if (config.keepAlive === false) this.keepalives = 0
    else if (config.keepAlive === true) this.keepalives = 1
    if (typeof config.keepAliveInitialDelayMillis === 'number') {
      this.keepalives_idle = Math.floor(config.keepAliveInitialDelayMillis / 1000)
    }
  }

  /** The startup message's parameters after user and database. */
  startup() {
    const out = []
    const name = this.application_name || this.fallback_application_name
    if (name) out.push(['application_name', String(name)])
    if (this.replication) out.push(['replication', String(this.replication)])
    for (const key of ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']) {
      if (this[key]) out.push([key, String(parseInt(this[key], 10))])
    }
    if (this.options) out.push(['options', String(this.options)])
    out.push(['client_encoding', 'UTF8'])
    return out
  }
}

module.exports = ConnectionParameters
