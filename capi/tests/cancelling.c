/* Query timeouts, and cancels from another thread. */
#include "support.h"

#define RUNNING "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%' AND state = 'active'"

static heys_pool *pool;

struct call {
  heys_client *client;
  const char *sql;
  heys_status status;
  char sqlstate[6];
};

static void *queries(void *argument) {
  struct call *call = argument;
  heys_error *error = NULL;
  heys_result *result = NULL;
  call->status = heys_client_query(call->client, call->sql, NULL, 0, &result, &error);
  if (error != NULL) snprintf(call->sqlstate, sizeof call->sqlstate, "%s", heys_error_sqlstate(error));
  heys_error_free(error);
  heys_result_free(result);
  return NULL;
}

static heys_client *acquire(void) {
  heys_error *error = NULL;
  heys_client *client = NULL;
  OK(heys_pool_acquire(pool, &client, &error));
  return client;
}

static void a_timeout_cancels_on_the_server(void) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  heys_client *client = acquire();
  long pid = backend(client);
  FAILS(HEYS_STATUS_QUERY_TIMEOUT, NULL,
        heys_client_query_timeout(client, "SELECT pg_sleep(600)", NULL, 0, 200, &result, &error));
  char *running = first(pool, RUNNING);
  CHECK(strcmp(running, "0") == 0);
  free(running);
  CHECK(result == NULL && backend(client) == pid);
  heys_client_release(client);
  /* The pool's own. */
  heys_pool *hasty = NULL;
  const heys_pool_options options = {.query_timeout_ms = 2000};
  OK(heys_pool_new(NULL, &options, &hasty, &error));
  FAILS(HEYS_STATUS_QUERY_TIMEOUT, NULL, heys_pool_query(hasty, "SELECT pg_sleep(600)", NULL, 0, &result, &error));
  OK(heys_pool_query(hasty, "SELECT 1", NULL, 0, &result, &error));
  heys_result_free(result);
  heys_pool_free(hasty);
}

static void another_thread_cancels(void) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  heys_cancel *cancel = NULL;
  struct call call = {.client = acquire(), .sql = "SELECT pg_sleep(600)"};
  pthread_t thread;
  OK(heys_client_cancel(call.client, &cancel, &error));
  start(&thread, queries, &call);
  wait_until(pool, RUNNING, "1");
  FAILS(HEYS_STATUS_USAGE, "", heys_client_query(call.client, "SELECT 1", NULL, 0, &result, &error));
  OK(heys_cancel_send(cancel, &error));
  join(thread);
  CHECK(call.status == HEYS_STATUS_SERVER && strcmp(call.sqlstate, "57014") == 0);
  backend(call.client);
  heys_client_release(call.client);
  /* Whoever has the connection now is left alone. */
  call.client = acquire();
  call.sql = "SELECT pg_sleep(0.3)";
  start(&thread, queries, &call);
  wait_until(pool, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(0.3)'", "1");
  OK(heys_cancel_send(cancel, &error));
  join(thread);
  CHECK(call.status == HEYS_STATUS_OK);
  heys_client_release(call.client);
  heys_cancel_free(cancel);
}

static void *cancels_ten_times(void *cancel) {
  heys_error *error = NULL;
  for (int i = 0; i < 10; i++) OK(heys_cancel_send(cancel, &error));
  return NULL;
}

/* Cancels that race with short queries: each query is answered, or cancelled, and the one after the last is answered. */
static void cancels_may_come_late(void) {
  heys_error *error = NULL;
  heys_cancel *cancel = NULL;
  heys_client *client = acquire();
  pthread_t threads[2];
  OK(heys_client_cancel(client, &cancel, &error));
  for (int i = 0; i < 2; i++) start(&threads[i], cancels_ten_times, cancel);
  for (int i = 0; i < 50; i++) {
    struct call call = {.client = client, .sql = "SELECT 1"};
    queries(&call);
    CHECK(call.status == HEYS_STATUS_OK || strcmp(call.sqlstate, "57014") == 0);
  }
  for (int i = 0; i < 2; i++) join(threads[i]);
  backend(client);
  heys_cancel_free(cancel);
  heys_client_release(client);
}

int main(void) {
  heys_error *error = NULL;
  const heys_pool_options options = {.max = 2, .query_timeout_ms = 60000};
  OK(heys_pool_new(NULL, &options, &pool, &error));
  a_timeout_cancels_on_the_server();
  another_thread_cancels();
  cancels_may_come_late();
  heys_pool_free(pool);
  return 0;
}
