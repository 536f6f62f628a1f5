// What heys-db is to reach against other drivers, as ratios from one run; and whether it did.

import { CASES, MAIN, titleOf } from './cases.mjs'
import { labelOf } from './drivers.mjs'
import { best } from './statistics.mjs'

const MEGABYTE = 1024 * 1024

/**
 * The measures of a driver on a case, against another's. A number is how many times better by the case's main measure
 * (speed, or the time or memory that is spared); `most` bounds ours as a part of theirs.
 */
export const GOALS = [
  { key: 'select', regime: 'S', against: 'pg', least: 2 },
  { key: 'select', regime: 'S', ours: 'heys-unnamed', against: 'pg', least: 1.35 },
  { key: 'select', regime: 'S', against: 'pg', measure: 'cpu', most: 0.55 },
  { key: 'select', regime: 'S', against: 'postgres.js', least: 2.6 },

  { key: 'callers', regime: 'F', against: 'pg', least: 6 },
  { key: 'callers', regime: 'F', against: 'pg', measure: 'p99', most: 1 / 3 },
  { key: 'callers', regime: 'F', against: 'postgres.js', least: 3 },

  { key: 'pgbouncer', regime: 'F', against: 'pg', least: 2.5 },
  { key: 'pgbouncer', regime: 'F', against: 'postgres.js', least: 1.5 },

  { key: 'rows', regime: 'F', against: 'pg', least: 2.2 },
  { key: 'rows', regime: 'F', against: 'pg', measure: 'cpu', most: 1 / 3.5 },
  { key: 'rows', regime: 'F', against: 'pg', measure: 'peak', most: 1.1 },
  { key: 'rows', regime: 'F', against: 'postgres.js', least: 2.5 },

  { key: 'list', regime: 'S', against: 'pg', least: 3.3 },
  { key: 'list', regime: 'F', against: 'pg', least: 2.3 },
  { key: 'list', regime: 'S', against: 'postgres.js', least: 4 },
  { key: 'list', regime: 'F', against: 'postgres.js', least: 4 },

  { key: 'insert', regime: 'S', against: 'pg', least: 2 },
  { key: 'insert', regime: 'S', against: 'postgres.js', least: 2.3 },

  { key: 'transaction', regime: 'S', against: 'pg', least: 1.3 },
  { key: 'transaction', regime: 'S', ours: 'heys-named-tx', against: 'pg', least: 1.5 },
  { key: 'transaction', regime: 'S', against: 'postgres.js', least: 1.8 },

  { key: 'tls', regime: 'S', against: 'pg', least: 1.5 },
  { key: 'tls', regime: 'S', against: 'postgres.js', least: 2 },

  { key: 'connect', regime: 'F', against: 'pg', most: 1 / 3.5 },
  { key: 'connect', regime: 'F', against: 'postgres.js', most: 1 / 2.5 },
  { key: 'require', regime: 'F', against: 'pg', most: 1 / 8 },
  { key: 'memory', regime: 'F', against: 'pg', most: 1 },
]

const WORDS = { speed: 'speed', time: 'time', rss: 'memory', cpu: 'client CPU', p99: 'p99', peak: 'peak memory' }

const ADDON_BYTES = 12 * MEGABYTE

/** `2.00×`, or `1/3.5` where the goal is a small part. */
const times = (ratio) => `${ratio.toFixed(2)}×`
const part = (ratio) => `1/${Number((1 / ratio).toFixed(2))}`

function judged({ key, regime, ours = 'heys', against, measure, least, most }, result) {
  const of = CASES.find((it) => it.key === key && it.regime === regime)
  const found = result.cases.find((it) => it.key === key && it.regime === regime)
  const name = measure ?? MAIN[of.kind]
  const [mine, theirs] = [ours, against].map((driver) => found?.drivers[driver]?.[name])
  if (mine === undefined || theirs === undefined) return undefined
  // Goals with a least are all of speed.
  const ratio = mine.median / theirs.median
  // A time of which an empty Node's is taken off can be less than none in its best round.
  const atBest = of.kind === 'connect' ? undefined : best(name, mine) / best(name, theirs)
  const form = most < 0.5 ? part : times
  const whose = ours === 'heys' ? [] : [labelOf(ours)]
  return {
    what: `${titleOf(of)}: ${[...whose, WORDS[name]].join(', ')} against ${labelOf(against)}`,
    goal: least === undefined ? `≤ ${form(most)}` : `≥ ${form(least)}`,
    measured: form(ratio),
    atBest: atBest === undefined ? '' : form(atBest),
    met: least === undefined ? ratio <= most : ratio >= least,
  }
}

/** The goals that this run can tell about: `{what, goal, measured, atBest, met}`, met by medians. */
export function judge(result) {
  const megabytes = (bytes) => `${(bytes / MEGABYTE).toFixed(1)} MB`
  const addon = {
    what: 'size of the addon',
    goal: `≤ ${megabytes(ADDON_BYTES)}`,
    measured: megabytes(result.addonBytes),
    met: result.addonBytes <= ADDON_BYTES,
  }
  return [...GOALS.map((goal) => judged(goal, result)).filter(Boolean), addon]
}
