/* The pool's counts and limits, and COPY. */
#include "support.h"

static heys_pool *pool;

static int counts_are(size_t total, size_t idle, size_t waiting) {
  heys_error *error = NULL;
  heys_counts counts;
  OK(heys_pool_counts(pool, &counts, &error));
  return counts.total == total && counts.idle == idle && counts.waiting == waiting;
}

static void *takes_one(void *argument) {
  heys_error *error = NULL;
  OK(heys_pool_acquire(pool, argument, &error));
  return NULL;
}

static void the_limit_holds(void) {
  heys_error *error = NULL;
  heys_client *clients[3] = {NULL, NULL, NULL};
  pthread_t thread;
  CHECK(counts_are(0, 0, 0));
  OK(heys_pool_acquire(pool, &clients[0], &error));
  CHECK(counts_are(1, 0, 0));
  OK(heys_pool_acquire(pool, &clients[1], &error));
  CHECK(counts_are(2, 0, 0) && backend(clients[0]) != backend(clients[1]));
  long pid = backend(clients[0]);
  FAILS(HEYS_STATUS_WAIT_TIMEOUT, "", heys_pool_acquire(pool, &clients[2], &error));
  CHECK(clients[2] == NULL && counts_are(2, 0, 0));
  start(&thread, takes_one, &clients[2]);
  while (!counts_are(2, 0, 1)) {
  }
  heys_client_release(clients[0]);
  join(thread);
  CHECK(counts_are(2, 0, 0) && backend(clients[2]) == pid);
  heys_client_release(clients[1]);
  heys_client_release(clients[2]);
  CHECK(counts_are(2, 2, 0));
}

static void a_transaction_is_rolled_back(void) {
  heys_error *error = NULL;
  heys_client *client = NULL;
  heys_result *result = NULL;
  OK(heys_pool_acquire(pool, &client, &error));
  OK(heys_client_query(client, "BEGIN; CREATE TABLE never_committed ()", NULL, 0, &result, &error));
  heys_result_free(result);
  heys_client_release(client);
  wait_until(pool, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND usename = current_user", "0");
  wait_until(pool, "SELECT count(*) FROM pg_class WHERE relname = 'never_committed'", "0");
}

/* COPY has no rows to give or place to put them; the connection lives on. */
static void copy_is_refused(void) {
  heys_error *error = NULL;
  heys_client *client = NULL;
  heys_result *result = NULL;
  OK(heys_pool_acquire(pool, &client, &error));
  long pid = backend(client);
  OK(heys_client_query(client, "CREATE TEMPORARY TABLE copied (n int)", NULL, 0, &result, &error));
  heys_result_free(result);
  result = NULL;
  heys_status status = heys_client_query(client, "COPY copied FROM STDIN", NULL, 0, &result, &error);
  CHECK(status != HEYS_STATUS_OK && result == NULL && heys_error_status(error) == status);
  printf("COPY FROM STDIN: status %d, SQLSTATE '%s', %s\n", (int)status, heys_error_sqlstate(error),
         heys_error_message(error));
  CHECK(strstr(heys_error_message(error), "COPY") != NULL && strstr(heys_error_message(error), "INSERT") != NULL);
  heys_error_free(error);
  error = NULL;
  CHECK(backend(client) == pid);
  OK(heys_client_query(client, "COPY (SELECT generate_series(1, 100000)) TO STDOUT", NULL, 0, &result, &error));
  CHECK(heys_result_rows(result) == 0 && heys_result_row_count(result) == 100000);
  heys_result_free(result);
  CHECK(backend(client) == pid);
  heys_client_release(client);
}

static void *sleeps_and_releases(void *client) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  OK(heys_client_query(client, "SELECT 'answer' FROM pg_sleep(0.5)", NULL, 0, &result, &error));
  CHECK(heys_result_rows(result) == 1);
  heys_client_release(client);
  /* Results outlive both their client and their pool. */
  return result;
}

static void the_end_waits_for_clients(void) {
  heys_error *error = NULL;
  heys_client *client = NULL;
  pthread_t thread;
  void *result;
  OK(heys_pool_acquire(pool, &client, &error));
  start(&thread, sleeps_and_releases, client);
  wait_until(pool, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT ''answer''%' AND state = 'active'", "1");
  heys_pool_free(pool);
  CHECK(pthread_join(thread, &result) == 0);
  CHECK(memcmp(heys_result_value(result, 0, 0, NULL), "answer", 6) == 0);
  heys_result_free(result);
}

int main(void) {
  heys_error *error = NULL;
  const heys_pool_options options = {.max = 2, .connect_timeout_ms = 6000};
  OK(heys_pool_new(NULL, &options, &pool, &error));
  the_limit_holds();
  a_transaction_is_rolled_back();
  copy_is_refused();
  the_end_waits_for_clients();
  return 0;
}
