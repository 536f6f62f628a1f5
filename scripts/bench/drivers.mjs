// Who is measured. `adapter` is the file in drivers/ that speaks the driver's API; `peer` names what peers.mjs installs.

const HEYS = { adapter: 'node-postgres', peer: 'heys' }

/** `variant`: a driver that is here already, used otherwise; `only`: the cases for which it is meant. */
export const DRIVERS = [
  { name: 'heys', label: 'heys-db', ...HEYS },
  { name: 'heys-unnamed', label: 'heys-db, unnamed', ...HEYS, options: { prepareStatements: false }, variant: true },
  {
    name: 'heys-named-tx',
    label: 'heys-db, named in transactions',
    ...HEYS,
    options: { prepareInTransactions: true },
    variant: true,
    only: ['transaction'],
  },
  { name: 'pg', label: 'pg', adapter: 'node-postgres', peer: 'pg' },
  { name: 'pg-named', label: 'pg, named statements', adapter: 'node-postgres', peer: 'pg', named: true, variant: true },
  { name: 'pg-native', label: 'pg-native', adapter: 'node-postgres', peer: 'pg-native', native: true },
  { name: 'postgres.js', label: 'postgres.js', adapter: 'postgres-js', peer: 'postgres' },
  {
    name: 'postgres.js-unsafe',
    label: 'postgres.js, sql.unsafe',
    adapter: 'postgres-js',
    peer: 'postgres',
    unsafe: true,
    variant: true,
  },
  { name: 'bun', label: 'Bun.SQL', adapter: 'bun', peer: 'bun', runtime: 'bun' },
]

export const labelOf = (name) => DRIVERS.find((driver) => driver.name === name).label

/** The drivers of a case, of these; and those that it leaves out, with the reason. */
export function driversOf({ key, variants = true, without = {} }, drivers) {
  const meant = drivers.filter(({ variant, only }) => (only ? only.includes(key) : variants || !variant))
  return {
    drivers: meant.filter(({ name }) => !Object.hasOwn(without, name)),
    leftOut: meant.filter(({ name }) => Object.hasOwn(without, name)).map(({ name }) => ({ name, why: without[name] })),
  }
}
