/**
 * @file heys.h
 * heys-db: a PostgreSQL pool, and a backup to object storage.
 *
 * Generated from capi/src by cbindgen; do not edit.
 *
 * Errors. Every function that can fail returns a heys_status and takes a `heys_error **error` as its last argument,
 * which may be NULL. On failure, and only then, `*error` is set to a new object that says what happened; free it with
 * heys_error_free. The other outputs are set only on success. errno means nothing after a call.
 *
 * Ownership. An object that is written to `*out` belongs to the caller, who gives it back with the function that its
 * type names. Those functions take NULL, and each object is given back once. Strings and values that a function returns
 * belong to the object they were read from and live as long as that object. What is passed in is not kept: it may
 * be freed or changed as soon as the call returns.
 *
 * Strings that are passed in are NUL-terminated UTF-8; parameters and values of rows have a length.
 *
 * Threads. Each type says who may use it at one time. A call blocks only the thread that makes it. The library starts
 * threads of its own at first use, which keep running until the process ends; they inherit the signal mask of the
 * thread that made that first call.
 *
 * Signals. No signal handler is installed, and a peer that closes raises no SIGPIPE.
 *
 * After fork() the child may exit or exec, but must not call the library.
 */


#ifndef HEYS_H
#define HEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What a call came to. A number never changes its meaning; later versions may add some.
 */
typedef enum {
  /**
   * It worked.
   */
  HEYS_STATUS_OK = 0,
  /**
   * A pointer that must not be NULL was NULL.
   */
  HEYS_STATUS_NULL_ARGUMENT = 1,
  /**
   * A string was not UTF-8.
   */
  HEYS_STATUS_INVALID_UTF8 = 2,
  /**
   * A setting is missing or wrong; the message names it.
   */
  HEYS_STATUS_CONFIG = 3,
  /**
   * The library was used in a way that it does not allow; the message says which.
   */
  HEYS_STATUS_USAGE = 4,
  /**
   * The server answered with an error; heys_error_sqlstate tells which.
   */
  HEYS_STATUS_SERVER = 5,
  /**
   * The connection broke, or could not be made.
   */
  HEYS_STATUS_CONNECTION = 6,
  /**
   * TLS could not be negotiated, or the certificate was not accepted.
   */
  HEYS_STATUS_TLS = 7,
  /**
   * The server refused the login.
   */
  HEYS_STATUS_AUTH = 8,
  /**
   * All connections were in use, and none became free in time.
   */
  HEYS_STATUS_WAIT_TIMEOUT = 9,
  /**
   * Connecting took too long.
   */
  HEYS_STATUS_CONNECT_TIMEOUT = 10,
  /**
   * The query took longer than its limit, so it was cancelled on the server.
   */
  HEYS_STATUS_QUERY_TIMEOUT = 11,
  /**
   * heys_backup_cancel was called.
   */
  HEYS_STATUS_CANCELLED = 12,
  /**
   * The object store refused or failed.
   */
  HEYS_STATUS_STORE = 13,
  /**
   * pg_dump is missing, too old, or failed.
   */
  HEYS_STATUS_DUMP = 14,
  /**
   * A defect in the library. Please report it.
   */
  HEYS_STATUS_INTERNAL = 15,
} heys_status;

/**
 * A backup that is run once. While one thread runs it, any other may cancel it. Give it back with heys_backup_free.
 */
typedef struct heys_backup heys_backup;

/**
 * What a backup has stored. Any number of threads may read it at once. Give it back with heys_backup_report_free.
 */
typedef struct heys_backup_report heys_backup_report;

/**
 * Cancels the queries of one client. Any number of threads may use it at once, also after the client was released. Give
 * it back with heys_cancel_free.
 */
typedef struct heys_cancel heys_cancel;

/**
 * A connection that was taken out of a pool, for one thread at a time. Give it back with heys_client_release.
 */
typedef struct heys_client heys_client;

/**
 * What went wrong. Any thread may read it. Give it back with heys_error_free.
 */
typedef struct heys_error heys_error;

/**
 * A pool of connections to one database. Any number of threads may use it at once. Give it back with heys_pool_free.
 */
typedef struct heys_pool heys_pool;

/**
 * What a query gave. Any number of threads may read it at once. Give it back with heys_result_free.
 */
typedef struct heys_result heys_result;

/**
 * Limits of a pool. 0 stands for the default: the environment variable in brackets, or the number after it.
 */
typedef struct {
  /**
   * Connections at most [POOL_MAX_SIZE, 3].
   */
  uint32_t max;
  /**
   * Milliseconds after which an idle connection is closed [POOL_IDLE_TIMEOUT, 10000].
   */
  uint32_t idle_timeout_ms;
  /**
   * Milliseconds to wait for a connection, connecting included [POOL_CONNECT_TIMEOUT, 5000].
   */
  uint32_t connect_timeout_ms;
  /**
   * Milliseconds after which a query is cancelled on the server [POOL_QUERY_TIMEOUT, 10000].
   */
  uint32_t query_timeout_ms;
} heys_pool_options;

/**
 * A parameter. SQL NULL has `data` NULL; an empty value has `length` 0 and any other `data`.
 */
typedef struct {
  /**
   * The bytes; no NUL at the end is needed. NULL for SQL NULL.
   */
  const char *data;
  /**
   * How many bytes there are.
   */
  size_t length;
  /**
   * Whether the bytes are in the binary format of the parameter's type (those of a bytea as they are) and not in its
   * text format.
   */
  bool binary;
} heys_value;

/**
 * The state of a pool at one moment.
 */
typedef struct {
  /**
   * Connections, those being opened or closed included.
   */
  size_t total;
  /**
   * Those of them that are open and not in use.
   */
  size_t idle;
  /**
   * Threads that wait for a connection.
   */
  size_t waiting;
} heys_counts;

/**
 * How far a backup has come.
 */
typedef struct {
  /**
   * Bytes of the dump so far, before compression.
   */
  uint64_t raw_bytes;
  /**
   * Compressed bytes that the store has so far.
   */
  uint64_t stored_bytes;
  /**
   * The size of the database in bytes as the server says, 0 while unknown. The dump is mostly smaller.
   */
  uint64_t estimated_bytes;
} heys_backup_progress;

/**
 * Called while heys_backup_run runs, with numbers that never become smaller: from any thread, from one at a time, and
 * never after heys_backup_run has returned. `progress` is only valid during the call. It should return soon, must not
 * leave by longjmp or an exception, and may call heys_backup_cancel but no function that waits for a server: those
 * return HEYS_STATUS_USAGE.
 */
typedef void (*heys_backup_progress_fn)(const heys_backup_progress *progress, void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library that is running, such as "0.1.0". The string is static.
 */
const char *heys_version(void);

/**
 * The status that the failed function returned; HEYS_STATUS_NULL_ARGUMENT for NULL.
 */
heys_status heys_error_status(const heys_error *error);

/**
 * What happened and what to do about it, in UTF-8, never NULL for an error. It holds no password. NULL for NULL.
 */
const char *heys_error_message(const heys_error *error);

/**
 * The five characters of the server's SQLSTATE, or an empty string if the error is not one of the server's. NULL for
 * NULL.
 */
const char *heys_error_sqlstate(const heys_error *error);

/**
 * The DETAIL of the server's error, or NULL if it has none.
 */
const char *heys_error_detail(const heys_error *error);

/**
 * The HINT of the server's error, or NULL if it has none.
 */
const char *heys_error_hint(const heys_error *error);

/**
 * Frees an error and the strings read from it. NULL is allowed.
 */
void heys_error_free(heys_error *error);

/**
 * Makes a pool; connections are opened when they are needed. `conninfo` is a connection string as libpq takes it
 * ("host=localhost dbname=shop", or a postgresql:// URL); NULL takes host, user, password and the rest from the
 * environment (PG_HOST, PG_PORT, PG_DATABASE, PG_USER, PG_PASSWORD, PG_SSLMODE, PG_SSLROOTCERT). `options` may be NULL
 * for the defaults.
 */
heys_status heys_pool_new(const char *conninfo, const heys_pool_options *options, heys_pool **out, heys_error **error);

/**
 * Takes a connection out of the pool, opening one or waiting for one as needed. The client is for one thread at a time;
 * give it back with heys_client_release.
 */
heys_status heys_pool_acquire(const heys_pool *pool, heys_client **out, heys_error **error);

/**
 * Runs a query on any connection of the pool. Arguments, result and errors are those of heys_client_query.
 */
heys_status heys_pool_query(const heys_pool *pool,
                            const char *sql,
                            const heys_value *values,
                            size_t count,
                            heys_result **out,
                            heys_error **error);

/**
 * Counts the pool's connections and the threads that wait for one.
 */
heys_status heys_pool_counts(const heys_pool *pool, heys_counts *out, heys_error **error);

/**
 * Ends the pool, waits until its connections are closed, and frees it. NULL is allowed. A client that is still out stays
 * usable and is closed when it is released; it is waited for, but for no longer than five seconds. No other thread may
 * be using the pool.
 */
void heys_pool_free(heys_pool *pool);

/**
 * Runs a query and waits for its end. `values` has `count` parameters, which `sql` calls $1, $2 and so on; it may be NULL
 * if `count` is 0. Without parameters `sql` may hold several statements, and the result is that of the last one. Free
 * the result with heys_result_free.
 *
 * The query timeout of the pool holds. After an error of the server the client can be used as before. COPY FROM STDIN
 * copies nothing and fails with HEYS_STATUS_USAGE, and the rows of COPY TO STDOUT are dropped; the client can be used as
 * before after both.
 */
heys_status heys_client_query(const heys_client *client,
                              const char *sql,
                              const heys_value *values,
                              size_t count,
                              heys_result **out,
                              heys_error **error);

/**
 * As heys_client_query, with a timeout for this query alone in milliseconds; 0 takes the pool's. A query that takes
 * longer is cancelled on the server, and the call returns HEYS_STATUS_QUERY_TIMEOUT when the server has ended it.
 */
heys_status heys_client_query_timeout(const heys_client *client,
                                      const char *sql,
                                      const heys_value *values,
                                      size_t count,
                                      uint32_t timeout_ms,
                                      heys_result **out,
                                      heys_error **error);

/**
 * Makes an object with which other threads can cancel the queries of this client.
 */
heys_status heys_client_cancel(const heys_client *client, heys_cancel **out, heys_error **error);

/**
 * Asks the server to cancel the query that the client is running. The call that runs it then returns
 * HEYS_STATUS_SERVER with SQLSTATE 57014, unless the query ended first. Nothing happens if no query is running or the
 * client was released. Returns when the server has taken the request; a query that the client starts meanwhile waits for
 * that, so it cannot be hit in place of the one before.
 */
heys_status heys_cancel_send(const heys_cancel *cancel,
                             heys_error **error);

/**
 * Frees the object; its client is not touched. NULL is allowed.
 */
void heys_cancel_free(heys_cancel *cancel);

/**
 * Gives the connection back to its pool and frees the client. NULL is allowed. An open transaction is rolled back, and
 * a broken connection replaced. Results and errors of the client stay.
 */
void heys_client_release(heys_client *client);

/**
 * The number of rows; 0 for NULL.
 */
size_t heys_result_rows(const heys_result *result);

/**
 * The number of columns; 0 for NULL and for a statement that returns no rows.
 */
size_t heys_result_columns(const heys_result *result);

/**
 * The name of a column, counted from 0; NULL for a column that is not there.
 */
const char *heys_result_column_name(const heys_result *result, size_t column);

/**
 * The OID of a column's type (pg_type.oid); 0 for a column that is not there.
 */
uint32_t heys_result_column_type(const heys_result *result, size_t column);

/**
 * A value in PostgreSQL's text format; its length in bytes is written to `*length` unless `length` is NULL. The bytes
 * have no NUL at the end. NULL means SQL NULL, or a row or column that is not there; an empty value is not NULL and has
 * length 0. Rows and columns are counted from 0.
 */
const char *heys_result_value(const heys_result *result, size_t row, size_t column, size_t *length);

/**
 * Whether a value is SQL NULL; true also for a row or column that is not there.
 */
bool heys_result_is_null(const heys_result *result, size_t row, size_t column);

/**
 * The command tag of the last statement ("SELECT 3", "CREATE TABLE"). NULL for NULL.
 */
const char *heys_result_command(const heys_result *result);

/**
 * How many rows the last statement returned or changed; -1 if its command tag has no number.
 */
int64_t heys_result_row_count(const heys_result *result);

/**
 * Frees a result and the strings and values read from it. NULL is allowed.
 */
void heys_result_free(heys_result *result);

/**
 * Makes a backup, to be run with heys_backup_run.
 */
heys_status heys_backup_new(heys_backup **out, heys_error **error);

/**
 * Dumps the database, stores it, and deletes backups that are too old. The settings are read from the environment now:
 * PG_HOST, PG_DATABASE, PG_USER, PG_PASSWORD, S3_ENDPOINT, S3_BUCKET, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY,
 * BACKUP_RETENTION_DAYS and the rest that README.md names. Returns when the backup is whole in the store, or when it has
 * failed and nothing of it is left there. `progress` may be NULL; it is called with `user_data`. Free the report with
 * heys_backup_report_free.
 */
heys_status heys_backup_run(const heys_backup *backup,
                            heys_backup_progress_fn progress,
                            void *user_data,
                            heys_backup_report **out,
                            heys_error **error);

/**
 * Stops the backup: pg_dump is ended, the upload aborted, and heys_backup_run returns HEYS_STATUS_CANCELLED, also if it
 * was called after this. Any thread may call it, and the progress callback; it returns at once. It is not safe inside a
 * signal handler. NULL is allowed.
 */
void heys_backup_cancel(const heys_backup *backup);

/**
 * Frees a backup, which must not be running. NULL is allowed.
 */
void heys_backup_free(heys_backup *backup);

/**
 * The key of the stored object. NULL for NULL.
 */
const char *heys_backup_report_key(const heys_backup_report *report);

/**
 * The bucket that holds the object. NULL for NULL.
 */
const char *heys_backup_report_bucket(const heys_backup_report *report);

/**
 * The SHA-256 of the stored object in lower-case hexadecimal. NULL for NULL.
 */
const char *heys_backup_report_sha256(const heys_backup_report *report);

/**
 * The size of the stored object in bytes; 0 for NULL.
 */
uint64_t heys_backup_report_bytes(const heys_backup_report *report);

/**
 * The size of the dump before compression in bytes; 0 for NULL.
 */
uint64_t heys_backup_report_raw_bytes(const heys_backup_report *report);

/**
 * The number of warnings, such as old backups that could not be deleted; 0 for NULL.
 */
size_t heys_backup_report_warnings(const heys_backup_report *report);

/**
 * A warning in UTF-8, counted from 0; NULL for one that is not there.
 */
const char *heys_backup_report_warning(const heys_backup_report *report, size_t index);

/**
 * Frees a report and the strings read from it. NULL is allowed.
 */
void heys_backup_report_free(heys_backup_report *report);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HEYS_H */
