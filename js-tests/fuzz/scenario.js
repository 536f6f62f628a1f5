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

function scenario(seed) {
  const random = new Random(seed)
  const options = poolOptions(random)
  const steps = Array.from({ length: 3 + random.int(10) }, () => step(random))
  return { seed, options, steps }
}

module.exports = { scenario, statementOf: (seed) => statement(new Random(seed)) }
