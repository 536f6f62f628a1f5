'use strict'

const heys = require('../..')
const pg = require('pg')
const { play } = require('./run')
const { scenario } = require('./scenario')

/** The first difference between pg and heys-db in the scenario of `seed`; undefined when there is none. */
async function differs(seed, settings) {
  const what = scenario(seed)
  const wanted = await play(pg, settings, what)
  const got = await play(heys, settings, what)
  const at = wanted.findIndex((line, i) => line !== got[i])
  if (at < 0 && wanted.length === got.length) return undefined
  const line = at < 0 ? wanted.length : at
  const begun = wanted.slice(0, line + 1).findLastIndex((text) => text.startsWith('step'))
  return { seed, scenario: what, before: wanted.slice(Math.max(begun, 0), line), pg: wanted[line], heys: got[line] }
}

/** Where two long lines begin to differ. */
function near(text, other) {
  if (text === undefined) return '(nothing)'
  let at = 0
  while (other !== undefined && at < text.length && text[at] === other[at]) at++
  return at < 400 ? text.slice(0, 900) : `…${text.slice(at - 200, at + 500)}`
}

function report({ seed, scenario, before, pg: wanted, heys: got }) {
  const step = before.find((line) => line.startsWith('step'))
  const number = step === undefined ? NaN : Number(step.split(' ')[1])
  return [
    `seed ${seed}: npm run test:fuzz -- --seed ${seed}`,
    `options ${JSON.stringify(scenario.options)}, ${step} ${JSON.stringify(scenario.steps[number])}`,
    `before: ${before.slice(-3).join('\n        ').slice(0, 1200)}`,
    `pg:   ${near(wanted, got)}`,
    `heys: ${near(got, wanted)}`,
  ].join('\n')
}

module.exports = { differs, report }
