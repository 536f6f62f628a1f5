'use strict'

// Compares each value of expressions.js as pg and as heys-db deliver it, and each parameter as both send it, in this
// process's time zone. Prints differences, then `N cells`. Needs HEYS_TEST_PG.

const pg = require('pg')
const heys = require('../..')
const { Normal } = require('../fuzz/normal')
const { Random } = require('../fuzz/random')
const { value } = require('../fuzz/values')
const { settings } = require('../server-process')
const { moments, others, isBinary } = require('./expressions')

/** Names that a column may have; the last of two equal ones wins. */
const HOSTILE = [
  '__proto__',
  'constructor',
  'a',
  'a',
  '0',
  '1',
  'toString',
  '"',
  "'",
  '\\',
  '`',
  '${1}',
  '\n',
  'ü',
  'then',
]
const STYLES = ['ISO, MDY', 'ISO, DMY', 'SQL, DMY', 'Postgres, MDY', 'German, DMY']

let cells = 0
let differences = 0

function compare(what, wanted, got) {
  cells++
  if (wanted === got) return
  if (differences++ < 20) console.log(`${what}\n  pg:   ${wanted}\n  heys: ${got}`)
}

const show = (given) => new Normal().show(given, 9)

class Pair {
  constructor(connection) {
    this.pg = new pg.Client(connection)
    this.heys = new heys.Client({ ...connection, strictPg: true })
    /** Prepares its statements by itself, so that some of their columns come as numbers. */
    this.named = new heys.Client(connection)
  }

  connect() {
    return Promise.all([this.pg.connect(), this.heys.connect(), this.named.connect()])
  }

  end() {
    return Promise.all([this.pg.end(), this.heys.end(), this.named.end()])
  }

  async both(config, client = this.heys) {
    const ask = (client) =>
      client.query(config).then(
        (result) => result,
        (error) => error,
      )
    // Not known yet, seen, seen, asked who the server is, named; then bound.
    for (let i = 0; client === this.named && i < 5; i++) await ask(client)
    return [await ask(this.pg), await ask(client)]
  }

  async set(text) {
    for (const client of [this.pg, this.heys, this.named]) await client.query(text)
  }

  /** The cells of one row, or each alone when the server refuses one of them. */
  async cells(expressions, options, client) {
    const names = expressions.map((_, i) => `c${i}`)
    const text = `SELECT ${expressions.map((expression, i) => `${expression} AS ${names[i]}`).join(', ')}`
    const [wanted, got] = await this.both({ text, ...options }, client)
    if (wanted instanceof Error && expressions.length > 1) {
      for (const expression of expressions) await this.cells([expression], options, client)
      return
    }
    const label = JSON.stringify(options) + (client === this.named ? ' named' : '')
    if (wanted instanceof Error || got instanceof Error) return compare(`${text} ${label}`, show(wanted), show(got))
    expressions.forEach((expression, i) => {
      const key = options.rowMode === 'array' ? i : names[i]
      compare(`${expression} ${label}`, show(wanted.rows[0][key]), show(got.rows[0][key]))
    })
  }

  async all(expressions, options, client) {
    for (let i = 0; i < expressions.length; i += 40) await this.cells(expressions.slice(i, i + 40), options, client)
  }

  /** By statements that have a name. */
  async numbers(expressions) {
    const wanted = expressions.filter((expression) => /float8|timestamptz/.test(expression))
    await this.all(wanted, { queryMode: 'extended' }, this.named)
    await this.all(wanted, { queryMode: 'extended', rowMode: 'array' }, this.named)
  }
}

async function results(pair) {
  const all = [...moments, ...others]
  for (const options of [{}, { rowMode: 'array' }, { queryMode: 'extended' }, { name: undefined, values: [] }]) {
    await pair.all(all, options)
  }
  const binary = all.filter(isBinary)
  await pair.all(binary, { binary: true })
  await pair.all(binary, { binary: true, rowMode: 'array' })
  await pair.numbers(all)
}

async function styles(pair) {
  for (const zone of ['UTC', 'Europe/Moscow', 'America/New_York', 'Asia/Kolkata', 'America/St_Johns']) {
    await pair.set(`SET TimeZone TO '${zone}'`)
    for (const style of STYLES) {
      await pair.set(`SET DateStyle TO '${style}'`)
      await pair.all(moments, {})
      if (style === STYLES[0] || style === STYLES[4]) await pair.numbers(moments)
    }
    await pair.set('RESET DateStyle')
  }
  for (const style of ['postgres', 'postgres_verbose', 'sql_standard', 'iso_8601']) {
    await pair.set(`SET IntervalStyle TO ${style}`)
    await pair.all(
      others.filter((expression) => expression.includes('interval')),
      {},
    )
  }
  await pair.set('RESET ALL; SET bytea_output TO escape')
  await pair.all(
    others.filter((expression) => expression.includes('bytea')),
    {},
  )
  await pair.set('RESET ALL; SET extra_float_digits TO 0')
  const floats = others.filter((expression) => expression.includes('float'))
  await pair.all(floats, {})
  await pair.numbers(floats)
  await pair.set('RESET ALL')
}

async function columns(pair) {
  const random = new Random(7)
  for (let i = 0; i < 200; i++) {
    const names = Array.from({ length: 1 + random.int(6) }, () => random.pick(HOSTILE))
    const list = names.map((name) => `${random.pick(others)} AS "${name.replaceAll('"', '""')}"`)
    const config = { text: `SELECT ${list.join(', ')} FROM generate_series(1, ${random.pick([1, 2, 20])})` }
    const [wanted, got] = await pair.both(config)
    compare(config.text, show(wanted), show(got))
  }
  for (const count of [1, 100, 1600, 1664]) {
    const text = `SELECT ${Array.from({ length: count }, (_, i) => `${i} AS c${i}`).join(', ')}`
    const [wanted, got] = await pair.both(text)
    compare(`${count} columns`, JSON.stringify(wanted.rows), JSON.stringify(got.rows))
  }
}

/** Type parsers of a query, of a client and of everybody. */
async function overrides(pair) {
  const text = "SELECT 1 AS i, 2::int8 AS b, 'x' AS t, '{1}'::int8[] AS a, now() IS NULL AS f, NULL::int4 AS n"
  const label = (oid, format) => (cell) => `${oid} ${format} ${typeof cell} ${cell}`
  const parsers = { getTypeParser: label }
  const check = async (what, config = text) => {
    const [wanted, got] = await pair.both(config)
    compare(what, show(wanted), show(got))
  }
  await check('types of a query', { text, types: { getTypeParser: (oid, format) => label(oid, format) } })
  for (const client of [pair.pg, pair.heys]) client.setTypeParser(20, (cell) => `client ${cell}`)
  await check('types of a client')
  await check('types of a query over those of a client', { text, types: parsers })
  pg.types.setTypeParser(23, (cell) => `global ${cell}`)
  await check('global types under those of a client')
  pg.types.setTypeParser(23, (cell) => parseInt(cell, 10))
  pg.defaults.parseInt8 = heys.defaults.parseInt8 = true
  await check('parseInt8')
}

async function parameters(pair) {
  const random = new Random(11)
  const attempt = (prepare, given) => {
    try {
      return show(prepare(given))
    } catch (error) {
      return show(error)
    }
  }
  for (let i = 0; i < 3000; i++) {
    // Two of the same random numbers, so that neither provider sees what the other may have changed.
    const { state } = random
    const first = value(random)
    const second = value(Object.assign(new Random(0), { state }))
    compare(`parameter ${i}`, attempt(pg.utils.prepareValue, first), attempt(heys.utils.prepareValue, second))
  }
  const dates = []
  for (let year = -300; year < 12000; year += 37) dates.push(new Date(Date.UTC(2000, 5, 6, 7, 8, 9, 10)))
  dates.forEach((date, i) => date.setUTCFullYear(-300 + i * 37))
  for (let hour = 0; hour < 24 * 366; hour += 5) dates.push(new Date(Date.UTC(2024, 0, 1, hour, 30)))
  for (const utc of [false, true]) {
    pg.defaults.parseInputDatesAsUTC = heys.defaults.parseInputDatesAsUTC = utc
    for (const date of dates) compare(`${date}`, pg.utils.prepareValue(date), heys.utils.prepareValue(date))
    const config = { text: 'SELECT $1::timestamptz AS z, $1::timestamp AS t, $1::date AS d, $1::text AS x' }
    for (const date of dates.filter((_, i) => i % 17 === 0)) {
      const [wanted, got] = await pair.both({ ...config, values: [date] })
      compare(`sent ${date}`, show(wanted), show(got))
    }
  }
}

async function main() {
  const server = await settings()
  const pair = new Pair(server.settings)
  await pair.connect()
  try {
    for (const step of [results, styles, columns, parameters, overrides]) await step(pair)
  } finally {
    await pair.end()
    await server.stop()
  }
  console.log(`${cells} cells, ${differences} differences`)
  process.exitCode = differences === 0 ? 0 : 1
}

main()
