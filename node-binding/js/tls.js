'use strict'

/**
 * node-postgres's `ssl` option as the addon's ConnectOptions. What they cannot express goes through Node's own tls
 * (stream-driver.js). Every Client comes through here: what only some need is loaded where they do.
 */

const KNOWN = new Set([
  'rejectUnauthorized',
  'ca',
  'cert',
  'key',
  'passphrase',
  'servername',
  'host',
  'checkServerIdentity',
  'sslmode',
])

const asPem = (value) =>
  Array.isArray(value) ? value.map(asPem).join('\n') : value == null ? undefined : String(value)

let nodeRoots

/** Node's own roots and NODE_EXTRA_CA_CERTS: what Node's tls, and so node-postgres, trusts. */
function roots() {
  if (nodeRoots === undefined) {
    const parts = [...require('tls').rootCertificates]
    const extra = process.env.NODE_EXTRA_CA_CERTS
    if (extra) {
      try {
        parts.push(require('fs').readFileSync(extra, 'utf8'))
      } catch (error) {
        process.emitWarning(`NODE_EXTRA_CA_CERTS cannot be read: ${error.message}`)
      }
    }
    nodeRoots = parts.join('\n')
  }
  return nodeRoots
}

/**
 * The program's own folders, in which `certs/root.crt` may lie: the entry module's, and those whose node_modules holds
 * heys-db, because the entry module of a function is its platform's.
 */
function entryFolders() {
  const path = require('path')
  const folders = []
  const entry = (require.main && require.main.filename) || process.argv[1]
  if (entry) folders.push(path.dirname(entry))
  const modules = `${path.sep}node_modules${path.sep}`
  for (let at = __dirname.lastIndexOf(modules); at > 0; at = __dirname.lastIndexOf(modules, at - 1)) {
    folders.push(__dirname.slice(0, at))
  }
  return folders
}

function modeOf(ssl, libpqMode) {
  const verifies =
    ssl.rejectUnauthorized === undefined ? process.env.NODE_TLS_REJECT_UNAUTHORIZED !== '0' : ssl.rejectUnauthorized
  if (verifies === false) return 'no-verify'
  if (libpqMode !== undefined && typeof ssl.checkServerIdentity === 'function') return 'verify-ca'
  return 'verify-full'
}

/** Whether the addon can do what `ssl` asks for. */
function isExpressible({ ssl, libpqSslMode }) {
  if (!ssl || ssl === true) return true
  const honoured = (key) => KNOWN.has(key) && !(key === 'checkServerIdentity' && libpqSslMode === undefined)
  return Object.keys(ssl).every((key) => ssl[key] === undefined || honoured(key))
}

/** The TLS part of ConnectOptions for these connection parameters, whose `ssl` is expressible. */
function tlsOptions(parameters) {
  const { ssl, host } = parameters
  if (!ssl) return { sslMode: 'disable', trust: 'given' }
  const own = ssl === true ? {} : ssl
  const sslMode = modeOf(own, parameters.libpqSslMode)
  const out = { sslMode, trust: 'given' }
  if (sslMode !== 'no-verify') out.ca = asPem(own.ca) || roots()
  else if (own.ca) out.ca = asPem(own.ca)
  if (own.cert) out.cert = asPem(own.cert)
  if (own.key) out.key = asPem(own.key)
  if (own.passphrase) out.passphrase = String(own.passphrase)
  // As in node-postgres, the host's own name is what is asked for and verified; servername counts for addresses only.
  if (own.servername && require('net').isIP(host)) out.serverName = own.servername
  if (parameters.sslnegotiation === 'direct') out.directTls = true
  return out
}

module.exports = { tlsOptions, isExpressible, roots, entryFolders }
