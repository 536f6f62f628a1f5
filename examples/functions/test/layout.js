'use strict'

/** Lays a function out as it is deployed, with heys-db or the pg shim in its node_modules, and loads its handler. */

const fs = require('fs')
const os = require('os')
const path = require('path')

const functions = path.resolve(__dirname, '..')
const repository = path.resolve(functions, '../..')

const provider = process.env.HEYS_PROVIDER || 'heys'
const packages = { heys: repository, pg: path.join(__dirname, 'pg-shim') }
if (!Object.hasOwn(packages, provider)) throw new Error(`HEYS_PROVIDER is heys or pg, not ${provider}`)

/** Folders of this process, removed when it ends. */
const made = []
process.once('exit', () => made.forEach((folder) => fs.rmSync(folder, { recursive: true, force: true })))

/** The folder of a deployed function: index.js, package.json, shared/, node_modules/heys-db. */
function layOut(name) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `${name}-`))
  made.push(folder)
  for (const entry of ['index.js', 'package.json']) {
    fs.copyFileSync(path.join(functions, name, entry), path.join(folder, entry))
  }
  fs.cpSync(path.join(functions, 'shared'), path.join(folder, 'shared'), { recursive: true })
  fs.mkdirSync(path.join(folder, 'node_modules'))
  fs.symlinkSync(packages[provider], path.join(folder, 'node_modules/heys-db'))
  return folder
}

function load(name) {
  const folder = layOut(name)
  return { handler: require(folder).handler, database: require(path.join(folder, 'shared/db-pool')) }
}

const ORIGIN = 'https://app.heys.example'

/** An event as the platform sends it. */
function event(httpMethod, path, { body, query = {}, headers = {}, ...more } = {}) {
  const sent = { 'content-type': 'application/json', Origin: ORIGIN, ...headers }
  return {
    httpMethod,
    path,
    headers: Object.fromEntries(Object.entries(sent).filter(([, value]) => value !== undefined)),
    multiValueHeaders: {},
    queryStringParameters: query,
    params: {},
    pathParameters: {},
    body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
    isBase64Encoded: false,
    requestContext: { identity: { sourceIp: '203.0.113.7' }, requestId: 'test' },
    ...more,
  }
}

const context = { getRemainingTimeInMillis: () => 30_000, requestId: 'test' }

/** Calls a handler and decodes its answer's body. */
async function call(handler, ...args) {
  const answer = await handler(event(...args), context)
  return { ...answer, body: answer.body === '' ? undefined : JSON.parse(answer.body) }
}

module.exports = { functions, layOut, load, event, call, context, provider, ORIGIN }
