/* A backup with its progress, cancelled from the callback and from another thread, and failing. */
#include "support.h"

static void set(const char *name, const char *value) {
  CHECK(value == NULL ? unsetenv(name) == 0 : setenv(name, value, 1) == 0);
}

/* What the store has, by its own account. */
static int holds(const char *what, const char *wanted) {
  char *answer = ask("s3.%s", what);
  int same = strcmp(answer, wanted) == 0;
  if (!same) fprintf(stderr, "%s: %s and not %s\n", what, answer, wanted);
  free(answer);
  return same;
}

struct seen {
  heys_backup_progress last;
  int calls;
  int running;
  heys_pool *pool;
};

static void watches(const heys_backup_progress *progress, void *user_data) {
  struct seen *seen = user_data;
  heys_error *error = NULL;
  heys_result *result = NULL;
  CHECK(seen->running);
  CHECK(progress->raw_bytes >= seen->last.raw_bytes && progress->stored_bytes >= seen->last.stored_bytes);
  /* It would wait for itself. */
  if (seen->calls == 0) FAILS(HEYS_STATUS_USAGE, "", heys_pool_query(seen->pool, "SELECT 1", NULL, 0, &result, &error));
  seen->last = *progress;
  seen->calls++;
}

static void progress_is_told(heys_pool *pool) {
  heys_error *error = NULL;
  heys_backup *backup = NULL;
  heys_backup_report *report = NULL;
  struct seen seen = {.running = 1, .pool = pool};
  OK(heys_backup_new(&backup, &error));
  OK(heys_backup_run(backup, watches, &seen, &report, &error));
  seen.running = 0;
  CHECK(seen.calls >= 2 && seen.last.estimated_bytes > 1000000);
  CHECK(seen.last.stored_bytes == heys_backup_report_bytes(report) && seen.last.stored_bytes > 500000);
  CHECK(seen.last.raw_bytes == heys_backup_report_raw_bytes(report) && seen.last.raw_bytes > 1000000);
  CHECK(strcmp(heys_backup_report_bucket(report), getenv("S3_BUCKET")) == 0);
  CHECK(strlen(heys_backup_report_sha256(report)) == 64 && heys_backup_report_warnings(report) == 0);
  CHECK(heys_backup_report_warning(report, 0) == NULL);
  char *objects = ask("s3.objects");
  CHECK(strstr(objects, heys_backup_report_key(report)) != NULL);
  free(objects);
  heys_backup_report *second = NULL;
  FAILS(HEYS_STATUS_USAGE, "", heys_backup_run(backup, NULL, NULL, &second, &error));
  CHECK(second == NULL);
  TELL("s3.deleteObject {\"key\": \"%s\"}", heys_backup_report_key(report));
  heys_backup_report_free(report);
  heys_backup_free(backup);
}

static void cancels(const heys_backup_progress *progress, void *backup) {
  CHECK(progress->stored_bytes == 0);
  heys_backup_cancel(backup);
}

static void *cancels_while_a_part_is_sent(void *backup) {
  TELL("s3.waitForRequests {\"operation\": \"UploadPart\"}");
  heys_backup_cancel(backup);
  return NULL;
}

/* The store holds the only part, so the backup cannot have ended before it is cancelled; nothing is left. */
static void a_cancel_leaves_nothing(int from_callback) {
  heys_error *error = NULL;
  heys_backup *backup = NULL;
  heys_backup_report *report = NULL;
  pthread_t thread;
  TELL("s3.clearRequests");
  TELL("s3.fault {\"operation\": \"UploadPart\", \"times\": 0, \"action\": {\"stall\": {\"afterRequestBytes\": 1}}}");
  OK(heys_backup_new(&backup, &error));
  if (!from_callback) start(&thread, cancels_while_a_part_is_sent, backup);
  FAILS(HEYS_STATUS_CANCELLED, "", heys_backup_run(backup, from_callback ? cancels : NULL, backup, &report, &error));
  if (!from_callback) join(thread);
  TELL("s3.clearFaults");
  CHECK(report == NULL && holds("uploads", "[]") && holds("objects", "[]"));
  heys_backup_free(backup);
}

static void a_cancel_may_come_first(void) {
  heys_error *error = NULL;
  heys_backup *backup = NULL;
  heys_backup_report *report = NULL;
  OK(heys_backup_new(&backup, &error));
  heys_backup_cancel(backup);
  heys_backup_cancel(backup);
  FAILS(HEYS_STATUS_CANCELLED, "", heys_backup_run(backup, NULL, NULL, &report, &error));
  CHECK(holds("uploads", "[]") && holds("objects", "[]"));
  heys_backup_free(backup);
}

/* With one setting changed. */
static void it_fails(const char *name, const char *value, heys_status status) {
  heys_error *error = NULL;
  heys_backup *backup = NULL;
  heys_backup_report *report = NULL;
  char *usual = strdup(getenv(name));
  CHECK(usual != NULL);
  set(name, value);
  OK(heys_backup_new(&backup, &error));
  FAILS(status, NULL, heys_backup_run(backup, NULL, NULL, &report, &error));
  set(name, usual);
  free(usual);
  CHECK(report == NULL && holds("uploads", "[]") && holds("objects", "[]"));
  heys_backup_free(backup);
}

static void wrong_arguments_are_told(void) {
  heys_error *error = NULL;
  heys_backup_report *report = NULL;
  FAILS(HEYS_STATUS_NULL_ARGUMENT, "", heys_backup_new(NULL, &error));
  FAILS(HEYS_STATUS_NULL_ARGUMENT, "", heys_backup_run(NULL, NULL, NULL, &report, &error));
  heys_backup_cancel(NULL);
  heys_backup_free(NULL);
  heys_backup_report_free(NULL);
  CHECK(heys_backup_report_key(NULL) == NULL && heys_backup_report_bytes(NULL) == 0);
}

int main(void) {
  heys_error *error = NULL;
  heys_pool *pool = NULL;
  heys_result *result = NULL;
  TELL("s3.clear");
  OK(heys_pool_new(NULL, NULL, &pool, &error));
  const char *fill = "DROP TABLE IF EXISTS noise; CREATE TABLE noise AS SELECT md5(random()::text) AS text FROM generate_series(1, 50000)";
  OK(heys_pool_query(pool, fill, NULL, 0, &result, &error));
  heys_result_free(result);
  progress_is_told(pool);
  a_cancel_leaves_nothing(1);
  a_cancel_leaves_nothing(0);
  a_cancel_may_come_first();
  it_fails("S3_BUCKET", "not-there", HEYS_STATUS_STORE);
  it_fails("S3_SECRET_ACCESS_KEY", "wrong", HEYS_STATUS_STORE);
  it_fails("PG_DUMP_PATH", "/nowhere/pg_dump", HEYS_STATUS_DUMP);
  it_fails("PG_PASSWORD", "wrong", HEYS_STATUS_SERVER);
  it_fails("S3_ACCESS_KEY_ID", NULL, HEYS_STATUS_CONFIG);
  wrong_arguments_are_told();
  OK(heys_pool_query(pool, "DROP TABLE noise", NULL, 0, &result, &error));
  heys_result_free(result);
  heys_pool_free(pool);
  return 0;
}
