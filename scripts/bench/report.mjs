// What was measured, as Markdown.

import { DRIVERS, labelOf } from './drivers.mjs'
import { MAIN, titleOf } from './cases.mjs'
import { judge } from './goals.mjs'
import { advantage } from './statistics.mjs'

/** Three digits or more, none of them hidden: 1.50, 15.0, 15,000. */
function short(number) {
  const digits = number < 10 ? 2 : number < 100 ? 1 : 0
  return number.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}
const megabytes = (kilobytes) => short(kilobytes / 1024)

/** Heading, measure and form of a column; one whose measure was not taken is missing. `empty`: a process without driver. */
const COLUMNS = {
  speed: [['operations/s', 'speed', short]],
  connect: [
    ['ms', 'time', short],
    ['ms inside', 'inside', short],
    ['ms empty', 'empty', short],
  ],
  require: [['ms', 'time', short]],
  memory: [
    ['MB', 'rss', megabytes],
    ['MB empty', 'empty', megabytes],
  ],
}
const MORE = [
  ['CPU µs', 'cpu', short],
  ['p50 ms', 'p50', short],
  ['p99 ms', 'p99', short],
  ['peak MB', 'peak', megabytes],
]

function markdown(headings, rows) {
  const widths = headings.map((heading, i) => Math.max(heading.length, ...rows.map((row) => row[i].length)))
  const line = (cells) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join(' | ')} |`
  const rule = widths.map((width, i) => (i === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`))
  return [line(headings), `|${rule.join('|')}|`, ...rows.map(line)].join('\n')
}

/** A variant has its driver's version. */
function titleOfDriver(name, versions) {
  const { label, variant } = DRIVERS.find((driver) => driver.name === name)
  return variant ? label : `${label} ${versions[name]}`
}

function caseTable(result, of) {
  const main = MAIN[of.kind]
  const names = Object.keys(of.drivers)
  const columns = [...COLUMNS[of.kind], ...MORE].filter(([, measure]) => of.drivers[names[0]][measure] !== undefined)
  const format = columns.find(([, measure]) => measure === main)[2]
  const headings = ['', ...columns.map(([heading]) => heading), 'min – max', 'heys-db is']
  const rows = names.map((name) => {
    const measured = of.drivers[name]
    const { min, max } = measured[main]
    const ratio =
      of.drivers.heys === undefined ? '' : `${advantage(main, of.drivers.heys[main], measured[main]).toFixed(2)}×`
    return [
      titleOfDriver(name, result.versions),
      ...columns.map(([, measure, show]) => show(measured[measure].median)),
      `${format(min)} – ${format(max)}`,
      name === 'heys' ? '' : ratio,
    ]
  })
  const notes = of.leftOut.map(({ name, why }) => `${labelOf(name)} is left out: ${why}.`)
  return [`### ${titleOf(of)}`, '', markdown(headings, rows), ...(notes.length > 0 ? ['', ...notes] : [])].join('\n')
}

/** All cases. */
export function report(result) {
  const { machine, rounds, warmup, seconds, leftOut } = result
  return [
    `Node ${machine.node}, PostgreSQL ${machine.postgres}, ${machine.cores} cores, all on one machine; ` +
      `medians of ${rounds} rounds, ${seconds} s each after ${warmup} s of warming up. S: client and server share one core; F: free.`,
    ...leftOut.map(({ name, why }) => `${labelOf(name)} is left out: ${why}.`),
    ...result.cases.map((of) => caseTable(result, of)),
  ].join('\n\n')
}

/** The goals that the measured cases can tell about. */
export function goalsTable(result) {
  const rows = judge(result)
  const missed = rows.filter(({ met }) => !met).length
  const cells = rows.map(({ what, goal, measured, met, atBest = '' }) => [
    what,
    goal,
    measured,
    met ? 'met' : 'missed',
    atBest,
  ])
  return `${markdown(['goal', '', 'medians', '', 'best rounds'], cells)}\n\n${rows.length - missed} met, ${missed} missed`
}
