/*
 * A pool from C: values by length, NULL told from empty, an error with its SQLSTATE, a timeout, and a cancel from
 * another thread. The first argument is a connection string; without one the environment (PG_HOST, PG_USER, …) decides.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heys.h"

static void fail(const char *what, heys_error *error) {
  fprintf(stderr, "%s: %s (%s)\n", what, heys_error_message(error), heys_error_sqlstate(error));
  heys_error_free(error);
  exit(1);
}

static void select_values(const heys_pool *pool) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  const heys_value values[] = {{"Grüße", strlen("Grüße"), false}, {"", 0, false}, {NULL, 0, false}};
  const char *sql = "SELECT $1::text AS greeting, $2::text AS empty, $3::text AS missing";
  if (heys_pool_query(pool, sql, values, 3, &result, &error) != HEYS_STATUS_OK) fail("select", error);
  for (size_t column = 0; column < heys_result_columns(result); column++) {
    size_t length = 0;
    const char *value = heys_result_value(result, 0, column, &length);
    const char *name = heys_result_column_name(result, column);
    if (value == NULL)
      printf("%s: NULL\n", name);
    else
      printf("%s: '%.*s' (%zu bytes)\n", name, (int)length, value, length);
  }
  heys_result_free(result);
}

static void show_error(const heys_pool *pool) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  heys_status status = heys_pool_query(pool, "SELECT 1/0", NULL, 0, &result, &error);
  if (status != HEYS_STATUS_SERVER || strcmp(heys_error_sqlstate(error), "22012") != 0) fail("division", error);
  printf("error: %s, SQLSTATE %s\n", heys_error_message(error), heys_error_sqlstate(error));
  heys_error_free(error);
}

static void show_timeout(const heys_client *client) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  heys_status status = heys_client_query_timeout(client, "SELECT pg_sleep(60)", NULL, 0, 200, &result, &error);
  if (status != HEYS_STATUS_QUERY_TIMEOUT) fail("timeout", error);
  printf("timeout: %s\n", heys_error_message(error));
  heys_error_free(error);
}

struct canceller {
  heys_cancel *cancel;
  atomic_bool done;
};

/* Once would do if it came while the query runs; this thread cannot know when it begins. */
static void *send_cancels(void *argument) {
  struct canceller *canceller = argument;
  heys_error *error = NULL;
  while (!atomic_load(&canceller->done)) {
    if (heys_cancel_send(canceller->cancel, &error) != HEYS_STATUS_OK) fail("cancel", error);
    usleep(50 * 1000);
  }
  return NULL;
}

static void show_cancel(const heys_client *client) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  struct canceller canceller = {NULL, false};
  pthread_t thread;
  if (heys_client_cancel(client, &canceller.cancel, &error) != HEYS_STATUS_OK) fail("cancel object", error);
  if (pthread_create(&thread, NULL, send_cancels, &canceller) != 0) exit(1);
  heys_status status = heys_client_query(client, "SELECT pg_sleep(60)", NULL, 0, &result, &error);
  atomic_store(&canceller.done, true);
  pthread_join(thread, NULL);
  heys_cancel_free(canceller.cancel);
  if (status != HEYS_STATUS_SERVER || strcmp(heys_error_sqlstate(error), "57014") != 0) fail("sleep", error);
  printf("cancelled: SQLSTATE %s\n", heys_error_sqlstate(error));
  heys_error_free(error);
}

int main(int argc, char **argv) {
  heys_error *error = NULL;
  heys_pool *pool = NULL;
  heys_client *client = NULL;
  const heys_pool_options options = {.max = 2};
  printf("libheys %s\n", heys_version());
  if (heys_pool_new(argc > 1 ? argv[1] : NULL, &options, &pool, &error) != HEYS_STATUS_OK) fail("pool", error);
  select_values(pool);
  show_error(pool);
  if (heys_pool_acquire(pool, &client, &error) != HEYS_STATUS_OK) fail("acquire", error);
  show_timeout(client);
  show_cancel(client);
  heys_client_release(client);
  select_values(pool);
  heys_pool_free(pool);
  return 0;
}
