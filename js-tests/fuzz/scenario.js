'use strict'

const { Random } = require('./random')
const { statement } = require('./statements')

/**
 * A scenario is what its seed says: options of a pool, and steps on it and on up to three clients of it. It is data, so
 * that it can be printed; statements in it are seeds of their own.
 */

function poolOptions(random) {
  const options = { max: 1 + random.int(3), strictPg: true }
  if (random.chance(10)) options.maxUses = 1 + random.int(3)
  if (random.chance(5)) options.idleTimeoutMillis = 0
  if (random.chance(5)) options.binary = true
  if (random.chance(5)) options.application_name = 'fuzz app'
  if (random.chance(5)) options.options = '-c geqo=off'
  if (random.chance(5)) options.statement_timeout = 20000
  if (random.chance(3)) options.password = 'wrong'
  if (random.chance(2)) options.database = 'not_there'
  if (random.chance(10)) options.verifies = random.pick(['fine', 'fails'])
  return options
}

const QUERY_FORMS = [
  'promise',
  'promise',
  'promise',
  'callback',
  'textValues',
  'textCallback',
  'query',
  'queryCallback',
]
const RELEASES = ['plain', 'plain', 'plain', 'false', 'true', 'error', 'twice']
const LOCK_ENDS = ['commit', 'cancelBackend', 'cancelClient', 'terminate', 'queryTimeout', 'statementTimeout']

function step(random) {
  const slot = random.int(3)
  const roll = random.int(100)
  const seed = random.int(0x7fffffff)
  if (roll < 18) return { do: 'acquire', slot, form: random.pick(['promise', 'callback']) }
  if (roll < 30) return { do: 'release', slot, how: random.pick(RELEASES) }
  if (roll < 62) return { do: 'query', slot, form: random.pick(QUERY_FORMS), seed }
  if (roll < 80)
    return { do: 'poolQuery', form: random.pick(['promise', 'callback', 'textValues', 'textCallback']), seed }
  if (roll < 90) return { do: 'burst', slot, seeds: random.some(6, () => random.int(0x7fffffff)) }
  if (roll < 92) return { do: 'poolBurst', seeds: random.some(5, () => random.int(0x7fffffff)) }
  if (roll < 94) return { do: 'lock', slot, end: random.pick(LOCK_ENDS) }
  if (roll < 96) return { do: 'misuse', slot, what: random.int(8) }
  if (roll < 99) return { do: 'look', slot }
  return { do: 'end' }
}

/**
 * Scenarios from this seed on say the same few things again and again, so that heys-db prepares them by itself, and change
 * the table in between.
 */
const HOT = 1000000
const CHANGES = [
  'ALTER TABLE t ADD COLUMN IF NOT EXISTS c int DEFAULT 7',
  'ALTER TABLE t DROP COLUMN IF EXISTS c',
  'ALTER TABLE t ALTER b TYPE bigint',
  'ALTER TABLE t ALTER b TYPE int',
  'DROP TABLE t; CREATE TEMP TABLE t (id serial PRIMARY KEY, a text, b int)',
  "SET TIME ZONE 'Asia/Kolkata'",
  'DISCARD PLANS',
]

function heat(scenario, random) {
  const { options } = scenario
  options.prepareStatements = true
  delete options.maxUses
  const few = Array.from({ length: 4 }, () => random.int(0x7fffffff))
  const steps = []
  for (const step of scenario.steps) {
    if (step.do === 'end' && random.chance(80)) continue
    if (step.seed !== undefined) Object.assign(step, { seed: random.pick(few), times: 1 + random.int(6) })
    if (step.seeds !== undefined) step.seeds = step.seeds.map(() => random.pick(few))
    steps.push(step)
    if (random.chance(20)) steps.push({ do: 'change', slot: random.int(3), text: random.pick(CHANGES) })
  }
  return { ...scenario, steps }
}

function scenario(seed) {
  const random = new Random(seed)
  const options = poolOptions(random)
  const steps = Array.from({ length: 3 + random.int(10) }, () => step(random))
  const made = { seed, options, steps }
  return seed < HOT ? made : heat(made, random)
}

module.exports = { scenario, statementOf: (seed) => statement(new Random(seed)) }
