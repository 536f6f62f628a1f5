// npm run bench -- --profile: where the client's time goes in the first chosen case, by layer and by function. Needs Linux
// perf (Debian: linux-perf); samples by the processor's clock, which virtual machines have, too.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { must, root, run } from '../lib/run.mjs'
import { orderOf } from './rounds.mjs'

const SPEED = fileURLToPath(new URL('child/speed.js', import.meta.url))
const SAMPLES_A_SECOND = 4999

/** What a sample's library and function say of its layer; the first that fits. */
const LAYERS = [
  ['kernel: sockets, epoll, scheduling', (dso) => dso.startsWith('[kernel')],
  ['heys-db, Rust: protocol', (dso, name) => dso.includes('heys-db') && /proto::|postgres_protocol/.test(name)],
  ['heys-db, Rust: rows', (dso, name) => dso.includes('heys-db') && /rows::|records::|write_rows/.test(name)],
  ['heys-db, Rust: pool and statements', (dso, name) => dso.includes('heys-db') && /pool::|statements::/.test(name)],
  ['heys-db, Rust: the border to Node', (dso) => dso.includes('heys-db')],
  ['heys-db, JavaScript', (_, name) => /node-binding\/js/.test(name)],
  ['heys-db, JavaScript: decoders made for a shape', (dso, name) => /^JS:\S* :\d/.test(name)],
  ['the caller and Node, JavaScript', (_, name) => /^JS:/.test(name)],
  ['memory: malloc, memcpy', (_, name) => /malloc|free|memmove|memset|memcpy|operator (new|delete)/.test(name)],
  ['clock', (dso, name) => dso.includes('vdso') || /clock_gettime/.test(name)],
  [
    'V8: garbage collection',
    (_, name) => /Scaveng|Marking|Sweep|Heap::|Evacuat|IterateAndScavenge|GCTracer/.test(name),
  ],
  ['V8: compiling', (_, name) => /compiler::|maglev|Turbo|baseline|interpreter::|Parser<|Scanner|Compil/.test(name)],
  ['V8: JSON.parse', (_, name) => /JsonParser/.test(name)],
  ['Node: N-API', (_, name) => /napi|v8impl/.test(name)],
  ['Node: event loop, callback scopes', (_, name) => /^uv_|uv__|node::|epoll_pwait/.test(name)],
  ['V8: promises and microtasks', (_, name) => /Promise|Microtask|AsyncFunction|Await/.test(name)],
  ['V8: other built-in functions', (_, name) => /^Builtins_/.test(name)],
  ['V8: the rest', (dso) => dso === 'node'],
  ['other libraries', () => true],
]

/** `overhead dso symbol` lines of perf report. */
function parsed(report) {
  const found = []
  for (const line of report.split('\n')) {
    const match = /^\s*([\d.]+)%\s+(\S+(?: tid \d+)?)\s+\[.\]\s+(.*\S)/.exec(line)
    if (match !== null)
      found.push({ percent: Number(match[1]), dso: match[2], name: match[3].replace(`${root}/`, '').trim() })
  }
  return found
}

/** Profiles `driver` in a case; resolves Markdown. */
export async function profile(bench, of, driver) {
  if ((await run('perf', ['--version'], { print: false })).code !== 0) {
    throw new Error('perf is missing: install linux-perf to see where the time goes')
  }
  const folder = mkdtempSync(path.join(tmpdir(), 'heys-profile-'))
  const data = path.join(folder, 'perf.data')
  try {
    await bench.regimes.applyToServer(of.regime)
    const node = [process.execPath, '--perf-basic-prof', '--interpreted-frames-native-stack', SPEED]
    const record = ['record', '-q', '-e', 'cpu-clock', '-F', String(SAMPLES_A_SECOND), '-o', data, ...node]
    const output = await bench.regimes.runClient(of.regime, 'perf', record, {
      print: false,
      // V8 leaves a log of its own where it runs.
      cwd: folder,
      env: { HEYS_BENCH: JSON.stringify(orderOf(bench, of, driver)) },
    })
    const { cpu, speed } = JSON.parse(output.trim().split('\n').at(-1))
    const report = await must('perf', ['report', '-i', data, '--stdio', '--sort', 'dso,symbol'], { print: false })
    return told(parsed(report), cpu, speed)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function told(found, cpu, speed) {
  const layers = new Map()
  for (const { percent, dso, name } of found) {
    const [layer] = LAYERS.find(([, fits]) => fits(dso, name))
    layers.set(layer, (layers.get(layer) ?? 0) + percent)
  }
  const row = (name, percent) => `| ${name} | ${percent.toFixed(1)} % | ${((percent / 100) * cpu).toFixed(2)} |`
  const head = (what) => `| ${what} | share | µs |\n|---|---:|---:|`
  const sorted = [...layers].sort((a, b) => b[1] - a[1]).map(([name, percent]) => row(name, percent))
  const functions = found.slice(0, 20).map(({ percent, name }) => row(`\`${name.slice(0, 70)}\``, percent))
  return [
    `${cpu.toFixed(2)} µs of client CPU each at ${Math.round(speed).toLocaleString('en')}/s, warm-up included in the shares`,
    [head('layer'), ...sorted].join('\n'),
    [head('function'), ...functions].join('\n'),
  ].join('\n\n')
}
