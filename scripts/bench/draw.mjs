// The picture of docs/performance.md: how many times better heys-db is than each driver, case by case, on a logarithmic
// scale, because twice and half are to look alike. `node scripts/bench/draw.mjs FROM.json TO.svg` draws one by hand.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { MAIN } from './cases.mjs'
import { DRIVERS } from './drivers.mjs'
import { advantage } from './statistics.mjs'

const WIDTH = 880
const MARGIN = 20
const HEAD = 96
/** Where the drivers' names end, and where the bars may be. */
const NAMES_END = 352
const [BARS_FROM, BARS_TO] = [364, WIDTH - MARGIN - 44]
const BAR = 11
const PITCH = 16
const GAP = 18

const COLOURS = {
  pg: '#3f83d1',
  'pg-named': '#86b3e6',
  'pg-native': '#2e9e86',
  'postgres.js': '#e08f2e',
  bun: '#b272cc',
}

const STYLE = `
    text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
    .title { font-size: 17px; font-weight: 600 }
    .case { font-size: 13px; font-weight: 600 }
    .small { font-size: 11px; fill: #59636e }
    .value { paint-order: stroke; stroke: #ffffff; stroke-width: 3px }
    .page { fill: #ffffff }
    .tick { stroke: #d1d9e0 }
    .even { stroke: #59636e }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .small { fill: #9198a1 }
      .value { stroke: #0d1117 }
      .page { fill: #0d1117 }
      .tick { stroke: #30363d }
      .even { stroke: #9198a1 }
    }`

/** What is longer ends in a notch: one bar is not to make all others short. */
const LONGEST = 16

const REGIME = { S: 'client and server on one core', F: 'all cores' }
const UNDER = {
  speed: (regime) => `operations/s, ${REGIME[regime]}`,
  connect: () => 'time, that of an empty process taken off',
  require: () => 'time',
  memory: () => 'resident memory of the process',
}

const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
const at = (number) => String(Math.round(number * 10) / 10)
const times = (ratio) => `${ratio < 10 ? ratio.toFixed(2) : ratio.toFixed(1)}×`

function text(x, y, words, { kind, end = false } = {}) {
  const attributes = `${kind ? ` class="${kind}"` : ''}${end ? ' text-anchor="end"' : ''}`
  return `<text x="${at(x)}" y="${at(y)}"${attributes}>${escape(words)}</text>`
}

/** A title in lines of so many letters. */
function wrapped(title, length = 30) {
  const lines = ['']
  for (const word of title.split(' ')) {
    if (lines.at(-1).length + word.length >= length && lines.at(-1) !== '') lines.push(word)
    else lines.push(`${lines.pop()} ${word}`.trim())
  }
  return lines
}

/** The bars of each case that has some. */
function groups(result) {
  return result.cases
    .filter(({ drivers }) => drivers.heys !== undefined)
    .map(({ title, regime, kind, drivers }) => ({
      lines: wrapped(title),
      under: UNDER[kind](regime),
      bars: DRIVERS.filter(({ name }) => COLOURS[name] && drivers[name]).map(({ name, label }) => ({
        name,
        label,
        ratio: advantage(MAIN[kind], drivers.heys[MAIN[kind]], drivers[name][MAIN[kind]]),
      })),
    }))
    .filter(({ bars }) => bars.length > 0)
}

/** Whole powers of two, from a half or less to four or more, at most LONGEST; and where a ratio lies. */
function scale(ratios) {
  const low = Math.floor(Math.log2(Math.min(0.5, ...ratios)))
  const high = Math.min(Math.log2(LONGEST), Math.ceil(Math.log2(Math.max(4, ...ratios))))
  const x = (ratio) => BARS_FROM + ((Math.min(Math.log2(ratio), high) - low) / (high - low)) * (BARS_TO - BARS_FROM)
  return { x, ticks: Array.from({ length: high - low + 1 }, (_, i) => 2 ** (low + i)) }
}

function header({ machine, rounds }, names) {
  const about =
    `Node ${machine.node}, PostgreSQL ${machine.postgres}, ${machine.cores} cores, one machine; ` +
    `medians of ${rounds} rounds; logarithmic scale; left of 1×, heys-db is behind`
  const legend = []
  let x = MARGIN
  for (const { name, label } of DRIVERS.filter((driver) => names.has(driver.name))) {
    legend.push(`<rect x="${x}" y="62" width="${BAR}" height="${BAR}" rx="2" fill="${COLOURS[name]}"/>`)
    legend.push(text(x + BAR + 6, 72, label))
    x += 44 + label.length * 7
  }
  return [
    text(MARGIN, 28, 'How many times better heys-db is than …', { kind: 'title' }),
    text(MARGIN, 47, about, { kind: 'small' }),
    ...legend,
  ]
}

function group({ lines, under, bars }, top, x) {
  const parts = lines.map((line, i) => text(MARGIN, top + 10 + i * 16, line, { kind: 'case' }))
  parts.push(text(MARGIN, top + 10 + lines.length * 16 - 1, under, { kind: 'small' }))
  bars.forEach(({ name, label, ratio }, i) => {
    const y = top + i * PITCH
    const [from, to] = [x(Math.min(1, ratio)), x(Math.max(1, ratio))]
    parts.push(text(NAMES_END, y + 10, label.replace(' statements', ''), { kind: 'small', end: true }))
    parts.push(
      `<rect x="${at(from)}" y="${y}" width="${at(Math.max(to - from, 1))}" height="${BAR}" rx="2" fill="${COLOURS[name]}"/>`,
      text(to + 6, y + 10, times(ratio), { kind: 'value' }),
    )
    if (ratio > LONGEST) parts.push(`<path class="page" d="M${at(to - 16)} ${y - 1}h4l-4 ${BAR + 2}h-4z"/>`)
  })
  return parts
}

/** The SVG of a result. */
export function draw(result) {
  const all = groups(result)
  const bars = all.flatMap((it) => it.bars)
  const { x, ticks } = scale(bars.map(({ ratio }) => ratio))
  const parts = header(result, new Set(bars.map(({ name }) => name)))

  let top = HEAD + 22
  const placed = all.map((it) => {
    const place = top
    top += Math.max(it.bars.length * PITCH, (it.lines.length + 1) * PITCH) + GAP
    return group(it, place, x)
  })
  for (const tick of ticks) {
    const words = tick < 1 ? `1/${1 / tick}×` : `${tick}×`
    parts.push(`<text x="${at(x(tick))}" y="${HEAD + 6}" class="small" text-anchor="middle">${words}</text>`)
    const line = `x1="${at(x(tick))}" x2="${at(x(tick))}" y1="${HEAD + 12}" y2="${top - GAP + 4}"`
    parts.push(`<line ${line} class="${tick === 1 ? 'even' : 'tick'}"/>`)
  }
  const height = top - GAP + MARGIN
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">
  <title>heys-db relative to other drivers</title>
  <style>${STYLE}
  </style>
  <rect class="page" width="${WIDTH}" height="${height}" rx="6"/>
  ${[...parts, ...placed.flat()].join('\n  ')}
</svg>
`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [from, to] = process.argv.slice(2)
  writeFileSync(to, draw(JSON.parse(readFileSync(from, 'utf8'))))
}
