// The words of `npm run bench`.

import { parseArgs } from 'node:util'
import { CASES, titleOf } from './cases.mjs'
import { DRIVERS } from './drivers.mjs'
import { REGIMES } from './regimes.mjs'

const list = (items) => items.map(([name, text]) => `  ${name.padEnd(16)} ${text}`).join('\n')

const HELP = `npm run bench: heys-db and other drivers against one PostgreSQL, in turns, each measurement in a process of its own.

  --rounds N       turns of every driver in every case (3)
  --warmup X       seconds before the clock starts; a busy machine needs more (1.2)
  --seconds X      length of a measurement that counts operations (0.5)
  --case NAME      this case only; may be repeated
  --driver NAME    this driver only; may be repeated
  --regime S|F     this regime only
  --json FILE      where the numbers go (target/bench.json)
  --read FILE      measure nothing, report these numbers; may be repeated: the rounds of several runs together
  --goals          compare with the goals (scripts/bench/goals.mjs)
  --profile        where the client's time goes in the first chosen case, for the first chosen driver (needs linux-perf)
  --publish        the numbers to docs/performance.json, and docs/performance.svg from them
  --no-build       measure the addon that is there

Cases
${list(CASES.map((of) => [of.key, titleOf(of)]))}

Drivers
${list(DRIVERS.map(({ name, label }) => [name, label]))}

Regimes
${list(Object.entries(REGIMES))}`

const FLAGS = {
  rounds: { type: 'string', default: '3' },
  /** V8 has compiled what pg runs after 0.8 s of CPU: 200 µs a query have become 28 by then. */
  warmup: { type: 'string', default: '1.2' },
  seconds: { type: 'string', default: '0.5' },
  case: { type: 'string', multiple: true },
  driver: { type: 'string', multiple: true },
  regime: { type: 'string' },
  json: { type: 'string' },
  read: { type: 'string', multiple: true },
  goals: { type: 'boolean', default: false },
  publish: { type: 'boolean', default: false },
  profile: { type: 'boolean', default: false },
  'no-build': { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
}

/** Those of `all` that `wanted` names, all when it names none. */
function chosen(kind, all, nameOf, wanted) {
  if (wanted === undefined) return all
  const names = [...new Set(all.map(nameOf))]
  const unknown = wanted.filter((name) => !names.includes(name))
  if (unknown.length > 0) throw new Error(`There is no ${kind} ${unknown.join(', ')}; there are ${names.join(', ')}`)
  return all.filter((one) => wanted.includes(nameOf(one)))
}

function positive(name, text) {
  const number = Number(text)
  if (!(number > 0)) throw new Error(`--${name} is a number above 0, not ${text}`)
  return number
}

function parsed(words) {
  const { values } = parseArgs({ args: words, options: FLAGS })
  const regime = values.regime === undefined ? undefined : [values.regime]
  const inRegime = chosen('regime', CASES, (of) => of.regime, regime)
  const rounds = positive('rounds', values.rounds)
  if (!Number.isInteger(rounds)) throw new Error('--rounds is a whole number')
  return {
    ...values,
    build: !values['no-build'],
    rounds,
    warmup: positive('warmup', values.warmup),
    seconds: positive('seconds', values.seconds),
    cases: chosen('case', inRegime, (of) => of.key, values.case),
    drivers: chosen('driver', DRIVERS, (driver) => driver.name, values.driver),
    whole: regime === undefined && values.case === undefined && values.driver === undefined,
  }
}

/** What the words ask for; help ends the process with code 0, what makes no sense with 2. */
export function optionsOrExit(words) {
  try {
    const options = parsed(words)
    if (options.help) {
      console.log(HELP)
      process.exit(0)
    }
    if (options.publish && !options.whole) throw new Error('What is published holds every case and every driver')
    return options
  } catch (error) {
    console.error(`${error.message}\n\n${HELP}`)
    process.exit(2)
  }
}
