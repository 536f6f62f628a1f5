import { ConnectionOptions } from 'tls'
import { ConnectionConfig } from '../node-binding/index'

type Shared =
  | 'user'
  | 'database'
  | 'password'
  | 'port'
  | 'host'
  | 'options'
  | 'ssl'
  | 'application_name'
  | 'statement_timeout'
  | 'idle_in_transaction_session_timeout'
  | 'query_timeout'

interface Config extends Pick<ConnectionConfig, Shared> {
  binary?: unknown
  client_encoding?: unknown
  replication?: unknown
  isDomainSocket?: unknown
  fallback_application_name?: unknown
  lock_timeout?: unknown
  connect_timeout?: unknown
  keepalives?: unknown
  keepalives_idle?: unknown
}

export = ConnectionParameters

declare class ConnectionParameters implements Config {
  constructor(config?: string | Config)
  user?: string | undefined
  database?: string | undefined
  password?: string | (() => string | Promise<string>) | undefined
  port?: number | undefined
  host?: string | undefined
  ssl?: boolean | ConnectionOptions | undefined
  options?: string | undefined
  application_name?: string | undefined
  statement_timeout?: false | number | undefined
  idle_in_transaction_session_timeout?: number | undefined
  query_timeout?: number | undefined
  binary?: unknown
  client_encoding?: unknown
  replication?: unknown
  isDomainSocket?: unknown
  fallback_application_name?: unknown
  lock_timeout?: unknown
  connect_timeout?: unknown
  keepalives?: unknown
  keepalives_idle?: unknown
  getLibpqConnectionString<T>(callback: (error: Error | null, text: string | null) => T): T
}
