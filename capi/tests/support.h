/*
 * For the tests in C: checks that end the program, and a line to the sandbox. scripts/test-c.mjs listens on descriptor
 * 3 for lines `part.verb {"arguments": …}` and answers each with one line of JSON.
 */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "heys.h"

#define SANDBOX 3
#define PATIENCE_SECONDS 60

#define CHECK(condition)                                                          \
  do {                                                                            \
    if (!(condition)) {                                                           \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                    \
    }                                                                             \
  } while (0)

/* The status must be OK. */
#define OK(call) ok(__FILE__, __LINE__, #call, call, &error)

/* The status must be this one; the error is freed. `code`: the SQLSTATE, or NULL for any. */
#define FAILS(expected, code, call) fails(__FILE__, __LINE__, #call, expected, code, call, &error)

static inline void ok(const char *file, int line, const char *call, heys_status status, heys_error **error) {
  if (status == HEYS_STATUS_OK && *error == NULL) return;
  fprintf(stderr, "%s:%d: %s: status %d, %s (%s)\n", file, line, call, (int)status,
          *error ? heys_error_message(*error) : "no error", *error ? heys_error_sqlstate(*error) : "");
  exit(1);
}

static inline void fails(const char *file, int line, const char *call, heys_status expected, const char *code,
                         heys_status status, heys_error **error) {
  const char *message = *error ? heys_error_message(*error) : NULL;
  const char *sqlstate = *error ? heys_error_sqlstate(*error) : NULL;
  if (status != expected || message == NULL || message[0] == '\0' || heys_error_status(*error) != status ||
      (code != NULL && strcmp(sqlstate, code) != 0)) {
    fprintf(stderr, "%s:%d: %s: status %d and not %d, %s (%s)\n", file, line, call, (int)status, (int)expected,
            message ? message : "no error", sqlstate ? sqlstate : "");
    exit(1);
  }
  heys_error_free(*error);
  *error = NULL;
}

/* The sandbox's answer, to be freed. */
static inline char *ask(const char *format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  CHECK(length > 0 && (size_t)length < sizeof line - 1);
  line[length++] = '\n';
  CHECK(write(SANDBOX, line, (size_t)length) == length);
  size_t size = 0, room = 4096;
  char *answer = malloc(room);
  for (;;) {
    CHECK(answer != NULL && read(SANDBOX, answer + size, 1) == 1);
    if (answer[size] == '\n') break;
    if (++size == room) answer = realloc(answer, room *= 2);
  }
  answer[size] = '\0';
  if (strncmp(answer, "{\"error\"", 8) == 0) {
    fprintf(stderr, "%s%s\n", line, answer);
    exit(1);
  }
  return answer;
}

/* Tells the sandbox something. */
#define TELL(...) free(ask(__VA_ARGS__))

static inline void start(pthread_t *thread, void *(*body)(void *), void *argument) {
  CHECK(pthread_create(thread, NULL, body, argument) == 0);
}

static inline void join(pthread_t thread) { CHECK(pthread_join(thread, NULL) == 0); }

/* The first value of a query's result as a string, to be freed. */
static inline char *first(const heys_pool *pool, const char *sql) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  OK(heys_pool_query(pool, sql, NULL, 0, &result, &error));
  size_t length;
  const char *value = heys_result_value(result, 0, 0, &length);
  CHECK(value != NULL);
  char *copy = calloc(length + 1, 1);
  CHECK(copy != NULL);
  memcpy(copy, value, length);
  heys_result_free(result);
  return copy;
}

/* Asks the server until the first value is `wanted`. */
static inline void wait_until(const heys_pool *pool, const char *sql, const char *wanted) {
  time_t end = time(NULL) + PATIENCE_SECONDS;
  for (;;) {
    char *value = first(pool, sql);
    int same = strcmp(value, wanted) == 0;
    if (!same && time(NULL) > end) {
      fprintf(stderr, "%s: %s and not %s\n", sql, value, wanted);
      exit(1);
    }
    free(value);
    if (same) return;
  }
}

/* The process id of the connection's server process. */
static inline long backend(const heys_client *client) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  OK(heys_client_query(client, "SELECT pg_backend_pid()", NULL, 0, &result, &error));
  size_t length;
  const char *value = heys_result_value(result, 0, 0, &length);
  CHECK(value != NULL && length > 0 && length < 12);
  long pid = 0;
  for (size_t i = 0; i < length; i++) pid = pid * 10 + (value[i] - '0');
  heys_result_free(result);
  return pid;
}

#endif
