// Several runs of the same code on the same machine as one of more rounds.

import { summary } from './statistics.mjs'

/** The case of a run that is `of`. */
const same = (of) => (other) => other.key === of.key && other.regime === of.regime

function poolCase(of, others) {
  const drivers = Object.entries(of.drivers).map(([name, measures]) => {
    const pool = (measure) => [of, ...others].flatMap((one) => one.drivers[name]?.[measure]?.rounds ?? [])
    return [name, Object.fromEntries(Object.keys(measures).map((measure) => [measure, summary(pool(measure))]))]
  })
  return { ...of, drivers: Object.fromEntries(drivers) }
}

export function pooled([first, ...others]) {
  const rounds = others.reduce((sum, { rounds }) => sum + rounds, first.rounds)
  const cases = first.cases.map((of) => poolCase(of, others.map(({ cases }) => cases.find(same(of))).filter(Boolean)))
  return { ...first, rounds, cases }
}
