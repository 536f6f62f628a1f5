// What is measured. `work` names the operations in child/work.js; `main` is the measure that a case is about, the one
// that is compared and drawn. `variants: false` leaves out what differs only in later queries.

const POOLER_NAMES = 'the name of a statement does not outlive its transaction behind PgBouncer'
const BUILT_IN = 'built into its runtime, nothing is required'

export const CASES = [
  { key: 'select', title: 'select by key', kind: 'speed', work: 'select', regimes: ['S', 'F'] },
  { key: 'callers', title: '64 callers, 3 connections', kind: 'speed', work: 'select', callers: 64, max: 3 },
  {
    key: 'pgbouncer',
    title: '64 callers through PgBouncer, transaction mode',
    kind: 'speed',
    work: 'select',
    callers: 64,
    max: 3,
    pooler: true,
    without: { 'pg-named': POOLER_NAMES },
  },
  { key: 'rows', title: '10,000 rows × 10 columns', kind: 'speed', work: 'rows' },
  { key: 'list', title: '100 rows × 5 columns', kind: 'speed', work: 'list', regimes: ['S', 'F'] },
  { key: 'insert', title: 'insert, 8 parameters', kind: 'speed', work: 'insert', regimes: ['S'] },
  {
    key: 'transaction',
    title: 'transaction: BEGIN, select, update, COMMIT',
    kind: 'speed',
    work: 'transaction',
    regimes: ['S'],
  },
  { key: 'tls', title: 'select by key over TLS', kind: 'speed', work: 'select', tls: true, regimes: ['S'] },
  { key: 'connect', title: 'connect and first row', kind: 'connect', variants: false },
  { key: 'require', title: 'require', kind: 'require', variants: false, without: { bun: BUILT_IN } },
  { key: 'memory', title: 'memory with 3 connections open', kind: 'memory', max: 3, variants: false },
].flatMap(({ regimes = ['F'], callers = 1, max = 1, ...rest }) =>
  regimes.map((regime) => ({ ...rest, callers, max, regime })),
)

/** The measure that each kind is about. */
export const MAIN = { speed: 'speed', connect: 'time', require: 'time', memory: 'rss' }

export const titleOf = ({ title, regime }) => `${title}, ${regime}`
