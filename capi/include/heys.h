/*
 * heys-db: PostgreSQL pool and backup for C.
 *
 * Generated from capi/src by cbindgen; a test compares the two. Do not edit.
 *
 * Rules of the whole interface
 * - Every function that can fail returns a heys_status and takes a `heys_error **error` last, which may be NULL. It is
 *   written only on failure; free it with heys_error_free. Other outputs are written only on success.
 * - What a *_new, *_acquire or query function gives is the caller's, to be freed with the matching *_free, *_release.
 *   Every *_free takes NULL.
 * - Strings that come in are NUL-terminated UTF-8; values of parameters and results go by length.
 * - No signal handlers are installed and no SIGPIPE is raised. Threads of the library are started at first use.
 * - After fork() the child must not use handles of the parent.
 */


#ifndef HEYS_H
#define HEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 What a call came to. Numbers never change their meaning.
 */
typedef enum {
  /*
   It worked.
   */
  HEYS_STATUS_OK = 0,
  /*
   A pointer that must not be NULL was NULL.
   */
  HEYS_STATUS_NULL_ARGUMENT = 1,
  /*
   A string was not UTF-8.
   */
  HEYS_STATUS_INVALID_UTF8 = 2,
  /*
   A setting is missing or wrong; the message names it.
   */
  HEYS_STATUS_CONFIG = 3,
  /*
   The library was used wrongly (a pool after its end, an index outside the result).
   */
  HEYS_STATUS_USAGE = 4,
  /*
   The server answered with an error; heys_error_sqlstate tells which.
   */
  HEYS_STATUS_SERVER = 5,
  /*
   The connection broke, or could not be made.
   */
  HEYS_STATUS_CONNECTION = 6,
  /*
   TLS could not be negotiated, or the certificate was not accepted.
   */
  HEYS_STATUS_TLS = 7,
  /*
   The server refused the login.
   */
  HEYS_STATUS_AUTH = 8,
  /*
   No connection became free in time.
   */
  HEYS_STATUS_WAIT_TIMEOUT = 9,
  /*
   Connecting took too long.
   */
  HEYS_STATUS_CONNECT_TIMEOUT = 10,
  /*
   The query took too long; it was cancelled on the server.
   */
  HEYS_STATUS_QUERY_TIMEOUT = 11,
  /*
   The caller cancelled.
   */
  HEYS_STATUS_CANCELLED = 12,
  /*
   The object store refused or failed.
   */
  HEYS_STATUS_STORE = 13,
  /*
   pg_dump is missing, too old, or failed.
   */
  HEYS_STATUS_DUMP = 14,
  /*
   A defect in the library: a panic was caught. Please report it.
   */
  HEYS_STATUS_PANIC = 15,
} heys_status;

/*
 A backup that can be run once. heys_backup_cancel may be called by any thread, the rest by one at a time.
 Free with heys_backup_free.
 */
typedef struct heys_backup heys_backup;

/*
 What a backup made. Free with heys_backup_report_free.
 */
typedef struct heys_backup_report heys_backup_report;

/*
 Cancels what its client is running; may be used and freed by any thread, also after the client's release (then it
 does nothing). Free with heys_cancel_free.
 */
typedef struct heys_cancel heys_cancel;

/*
 A checked-out connection, used by one thread at a time. Give it back with heys_client_release.
 */
typedef struct heys_client heys_client;

/*
 A failure's details. Free with heys_error_free.
 */
typedef struct heys_error heys_error;

/*
 A pool of connections. Every function of it may be called by any thread at any time. Free with heys_pool_free.
 */
typedef struct heys_pool heys_pool;

/*
 What a query gave. It may be read by several threads at once. Free with heys_result_free.
 */
typedef struct heys_result heys_result;

/*
 Limits of a pool; a 0 stands for the default in brackets.
 */
typedef struct {
  /*
   Connections at most [POOL_MAX_SIZE or 3].
   */
  uint32_t max;
  /*
   Milliseconds until an idle connection is closed [POOL_IDLE_TIMEOUT or 10000].
   */
  uint32_t idle_timeout_ms;
  /*
   Milliseconds that heys_pool_acquire waits, connecting included [POOL_CONNECT_TIMEOUT or 5000].
   */
  uint32_t connect_timeout_ms;
  /*
   Milliseconds that a query may take before it is cancelled on the server [POOL_QUERY_TIMEOUT or 10000].
   */
  uint32_t query_timeout_ms;
} heys_pool_options;

/*
 A parameter by length: `data` NULL is SQL NULL; length 0 with `data` not NULL is an empty value.
 */
typedef struct {
  /*
   The bytes, not NUL-terminated.
   */
  const char *data;
  /*
   Their number.
   */
  size_t length;
  /*
   Whether the bytes are in the type's binary format (bytea as it is), not text.
   */
  bool binary;
} heys_value;

/*
 A pool's numbers at one moment.
 */
typedef struct {
  /*
   Connections, connecting ones included.
   */
  size_t total;
  /*
   Of these, idle ones.
   */
  size_t idle;
  /*
   Callers that wait in the queue.
   */
  size_t waiting;
} heys_pool_counts;

/*
 How far a backup has come.
 */
typedef struct {
  /*
   Bytes that pg_dump has given.
   */
  uint64_t raw_bytes;
  /*
   Compressed bytes that the store has taken.
   */
  uint64_t stored_bytes;
  /*
   The database's size in bytes as the server estimates it, 0 when unknown.
   */
  uint64_t estimated_bytes;
} heys_backup_progress;

/*
 Called from a thread of the library, never from two at once, and never after heys_backup_run has returned. It must
 not block for long and must not unwind.
 */
typedef void (*heys_backup_progress_fn)(const heys_backup_progress *progress, void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The library's version, a static string.
 */
const char *heys_version(void);

/*
 The error's number.
 */
heys_status heys_error_status(const heys_error *error);

/*
 What happened and what to do, UTF-8; lives as long as the error. NULL for NULL.
 */
const char *heys_error_message(const heys_error *error);

/*
 The five characters of the server's SQLSTATE, or an empty string where the server did not speak. NULL for NULL.
 */
const char *heys_error_sqlstate(const heys_error *error);

/*
 The server's DETAIL, or NULL.
 */
const char *heys_error_detail(const heys_error *error);

/*
 The server's HINT, or NULL.
 */
const char *heys_error_hint(const heys_error *error);

/*
 Frees an error; NULL is allowed.
 */
void heys_error_free(heys_error *error);

/*
 Makes a pool; no connection is opened yet. `conninfo` is a libpq connection string (`host=… dbname=…`) or a
 `postgresql://` URL; NULL takes everything from the environment (PG_HOST, PG_PORT, …). `options` may be NULL.
 */
heys_status heys_pool_new(const char *conninfo, const heys_pool_options *options, heys_pool **out, heys_error **error);

/*
 Takes a connection, waiting and connecting as needed. Give it back with heys_client_release.
 */
heys_status heys_pool_acquire(const heys_pool *pool, heys_client **out, heys_error **error);

/*
 One query on a connection of the pool: heys_pool_acquire, heys_client_query, heys_client_release.
 */
heys_status heys_pool_query(const heys_pool *pool,
                            const char *sql,
                            const heys_value *values,
                            size_t count,
                            heys_result **out,
                            heys_error **error);

/*
 The pool's numbers.
 */
heys_status heys_pool_counts(const heys_pool *pool, heys_pool_counts *out, heys_error **error);

/*
 Ends the pool and frees the handle; NULL is allowed. Idle connections are closed now, checked-out clients stay usable
 and close at their release; they are waited for, but for at most five seconds. No other thread may be inside a call
 with this pool.
 */
void heys_pool_free(heys_pool *pool);

/*
 Runs a query. With `count` 0 the text may hold several statements and the result is the last one's; with parameters
 (`$1`, …) it is one statement. The pool's query timeout holds.
 */
heys_status heys_client_query(const heys_client *client,
                              const char *sql,
                              const heys_value *values,
                              size_t count,
                              heys_result **out,
                              heys_error **error);

/*
 As heys_client_query with a timeout of its own in milliseconds; 0 is the pool's. A query that takes longer is
 cancelled on the server, and the connection is reused only when that has come to its end.
 */
heys_status heys_client_query_timeout(const heys_client *client,
                                      const char *sql,
                                      const heys_value *values,
                                      size_t count,
                                      uint32_t timeout_ms,
                                      heys_result **out,
                                      heys_error **error);

/*
 A handle with which other threads cancel this client's queries.
 */
heys_status heys_client_cancel(const heys_client *client, heys_cancel **out, heys_error **error);

/*
 Asks the server to cancel the query that is running, if one is; its call then fails with SQLSTATE 57014. Returns when
 the server has taken the request, so that it can hit no later query.
 */
heys_status heys_cancel_send(const heys_cancel *cancel, heys_error **error);

/*
 Frees a cancel handle; NULL is allowed.
 */
void heys_cancel_free(heys_cancel *cancel);

/*
 Gives the connection back to its pool and frees the handle; NULL is allowed. An open transaction is rolled back.
 */
void heys_client_release(heys_client *client);

/*
 Rows in the result; 0 for NULL.
 */
size_t heys_result_rows(const heys_result *result);

/*
 Columns in the result; 0 for NULL and for statements that return no rows.
 */
size_t heys_result_columns(const heys_result *result);

/*
 A column's name, living as long as the result; NULL for a column that is not there.
 */
const char *heys_result_column_name(const heys_result *result, size_t column);

/*
 The oid of a column's data type; 0 for a column that is not there.
 */
uint32_t heys_result_column_type(const heys_result *result, size_t column);

/*
 A value in PostgreSQL's text form, living as long as the result, with its length in bytes in `*length` (which may be
 NULL). NULL means SQL NULL, or a cell that is not there; an empty value is not NULL but has length 0. The bytes are
 not NUL-terminated.
 */
const char *heys_result_value(const heys_result *result, size_t row, size_t column, size_t *length);

/*
 Whether a value is SQL NULL (or a cell that is not there).
 */
bool heys_result_is_null(const heys_result *result, size_t row, size_t column);

/*
 The command tag (`SELECT 3`, `CREATE TABLE`) of the last statement, living as long as the result.
 */
const char *heys_result_command(const heys_result *result);

/*
 Rows that the last statement returned or changed; -1 where its tag has no count.
 */
int64_t heys_result_row_count(const heys_result *result);

/*
 Frees a result; NULL is allowed.
 */
void heys_result_free(heys_result *result);

/*
 Prepares a backup; its settings are read from the environment (PG_HOST, S3_BUCKET, …) when it runs.
 */
heys_status heys_backup_new(heys_backup **out, heys_error **error);

/*
 Runs the backup and returns when it is whole in the store, or has failed and left nothing there. `progress` may be
 NULL; it gets `user_data`.
 */
heys_status heys_backup_run(const heys_backup *backup,
                            heys_backup_progress_fn progress,
                            void *user_data,
                            heys_backup_report **out,
                            heys_error **error);

/*
 Stops a running backup: pg_dump is ended, the upload aborted, and heys_backup_run returns HEYS_STATUS_CANCELLED.
 */
void heys_backup_cancel(const heys_backup *backup);

/*
 Frees a backup that is not running; NULL is allowed.
 */
void heys_backup_free(heys_backup *backup);

/*
 The object's key, living as long as the report. NULL for NULL.
 */
const char *heys_backup_report_key(const heys_backup_report *report);

/*
 The bucket, living as long as the report. NULL for NULL.
 */
const char *heys_backup_report_bucket(const heys_backup_report *report);

/*
 SHA-256 of the stored object in lower-case hexadecimal, living as long as the report. NULL for NULL.
 */
const char *heys_backup_report_sha256(const heys_backup_report *report);

/*
 Size of the stored object in bytes; 0 for NULL.
 */
uint64_t heys_backup_report_bytes(const heys_backup_report *report);

/*
 Size of the dump before compression in bytes; 0 for NULL.
 */
uint64_t heys_backup_report_raw_bytes(const heys_backup_report *report);

/*
 Number of warnings (a prune that failed, for one); 0 for NULL.
 */
size_t heys_backup_report_warnings(const heys_backup_report *report);

/*
 One warning, living as long as the report; NULL for one that is not there.
 */
const char *heys_backup_report_warning(const heys_backup_report *report, size_t index);

/*
 Frees a report; NULL is allowed.
 */
void heys_backup_report_free(heys_backup_report *report);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HEYS_H */
