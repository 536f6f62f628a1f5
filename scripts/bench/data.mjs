// The tables of the cases.

/** What is reset before each measurement, so that all find the same table. */
const ACCOUNTS = `
  TRUNCATE bench_account;
  INSERT INTO bench_account SELECT n, 'owner ' || n, 0 FROM generate_series(1, 1000) AS n;`

const TABLES = `
  CREATE TABLE bench_key (id int PRIMARY KEY, name text, body jsonb);
  INSERT INTO bench_key SELECT n, 'name ' || n, jsonb_build_object('n', n) FROM generate_series(1, 1000) AS n;

  CREATE TABLE bench_rows AS SELECT n AS id, n * 7 AS count, n % 2 = 0 AS even, 'name ' || n AS name, md5(n::text) AS hash,
    n / 3.0::float8 AS third, n::bigint * 1000000 AS big, TIMESTAMPTZ '2025-01-01' + n * INTERVAL '1 minute' AS at,
    CASE WHEN n % 10 = 0 THEN NULL ELSE 'note ' || n END AS note, n % 100 AS percent
  FROM generate_series(1, 10000) AS n;

  CREATE TABLE bench_list (list int, id int, name text, score float8, active bool, at timestamptz, PRIMARY KEY (list, id));
  INSERT INTO bench_list SELECT list, n, 'name ' || n, n / 4.0, n % 2 = 0, TIMESTAMPTZ '2025-01-01' + n * INTERVAL '1 hour'
  FROM generate_series(1, 100) AS list, generate_series(1, 100) AS n;

  CREATE UNLOGGED TABLE bench_insert
    (id int, name text, note text, active bool, score float8, big int8, at timestamptz, body jsonb);
  CREATE UNLOGGED TABLE bench_account (id int PRIMARY KEY, owner text, balance int) WITH (fillfactor = 50);`

export const RESETS = { insert: 'TRUNCATE bench_insert;', transaction: ACCOUNTS }

/** A vacuum in the middle of a measurement would be somebody's bad luck. */
export const SETTINGS = { autovacuum: 'off' }

/** Makes the tables for the role `user`. */
export const setupFor = (user) => `
  ${TABLES}
  ${ACCOUNTS}
  VACUUM ANALYZE;
  GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO ${user};`
