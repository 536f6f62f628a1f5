/*
 * The program keeps its signals: no handler is installed, and a peer that closes while it is being written to ends the
 * call, not the program, although SIGPIPE has its default action.
 */
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "support.h"

#define LARGE ((size_t)32 << 20)

/* Only signals that a program may set. */
static int seen(int number, struct sigaction *action) {
  memset(action, 0, sizeof *action);
  return number != SIGKILL && number != SIGSTOP && sigaction(number, NULL, action) == 0;
}

/* That SIGPIPE would be noticed: a plain write to a closed socket ends a child of this program. */
static void a_plain_write_would_kill(void) {
  int ends[2], status;
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  close(ends[1]);
  pid_t child = fork();
  if (child == 0) _exit(write(ends[0], "x", 1) == 1 ? 0 : 1);
  CHECK(child > 0 && waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
  close(ends[0]);
}

static heys_value large_value(void) {
  char *data = malloc(LARGE);
  CHECK(data != NULL);
  memset(data, 'x', LARGE);
  return (heys_value){data, LARGE, false};
}

/* A server that lets everybody in, reads the beginning of a query and closes. */
struct server {
  int listener;
  size_t wanted;
};

static void read_exactly(int socket, char *buffer, size_t size) {
  for (size_t done = 0; done < size;) {
    ssize_t got = read(socket, buffer, size - done < 4096 ? size - done : 4096);
    CHECK(got > 0);
    done += (size_t)got;
  }
}

static void *serves_one(void *argument) {
  struct server *server = argument;
  static const char welcome[] =
      "R\0\0\0\x08\0\0\0\0"                /* AuthenticationOk */
      "K\0\0\0\x0c\0\0\0\x01\0\0\0\x02"    /* BackendKeyData */
      "Z\0\0\0\x05I";                      /* ReadyForQuery, idle */
  char buffer[4096];
  int socket = accept(server->listener, NULL, NULL);
  CHECK(socket >= 0);
  /* StartupMessage: Int32 length, counts itself; the rest. */
  read_exactly(socket, buffer, 4);
  read_exactly(socket, buffer, (size_t)(((unsigned char)buffer[2] << 8) | (unsigned char)buffer[3]) - 4);
  CHECK(send(socket, welcome, sizeof welcome - 1, MSG_NOSIGNAL) == sizeof welcome - 1);
  read_exactly(socket, buffer, server->wanted);
  close(socket);
  return NULL;
}

/* A unix socket: a write after the peer's close is EPIPE at once. */
static void a_server_that_closes(size_t after) {
  heys_error *error = NULL;
  heys_pool *pool = NULL;
  heys_result *result = NULL;
  char folder[] = "/tmp/heys-signals-XXXXXX", conninfo[128];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct server server = {socket(AF_UNIX, SOCK_STREAM, 0), after};
  pthread_t thread;
  CHECK(mkdtemp(folder) != NULL && server.listener >= 0);
  snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", folder);
  CHECK(bind(server.listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(server.listener, 1) == 0);
  start(&thread, serves_one, &server);
  snprintf(conninfo, sizeof conninfo, "host=%s port=5432 user=u dbname=d sslmode=disable", folder);
  OK(heys_pool_new(conninfo, NULL, &pool, &error));
  heys_value value = large_value();
  FAILS(HEYS_STATUS_CONNECTION, "", heys_pool_query(pool, "SELECT $1::text", &value, 1, &result, &error));
  join(thread);
  heys_pool_free(pool);
  free((void *)value.data);
  close(server.listener);
  CHECK(unlink(address.sun_path) == 0 && rmdir(folder) == 0);
}

/* The real server behind TLS, cut by the proxy in the middle of a query; the next query gets a new connection. */
static void a_connection_that_is_cut(const char *how) {
  heys_error *error = NULL;
  heys_pool *pool = NULL;
  heys_result *result = NULL;
  heys_value value = large_value();
  char *port = strdup(getenv("PG_PORT"));
  CHECK(setenv("PG_PORT", getenv("PROXY_PORT"), 1) == 0);
  OK(heys_pool_new(NULL, NULL, &pool, &error));
  CHECK(setenv("PG_PORT", port, 1) == 0);
  TELL("proxy.cutAfter {\"direction\": \"up\", \"bytes\": 1000000, \"cut\": \"%s\"}", how);
  FAILS(HEYS_STATUS_CONNECTION, "", heys_pool_query(pool, "SELECT length($1::text)", &value, 1, &result, &error));
  OK(heys_pool_query(pool, "SELECT length($1::text)", &value, 1, &result, &error));
  CHECK(memcmp(heys_result_value(result, 0, 0, NULL), "33554432", 8) == 0);
  heys_result_free(result);
  heys_pool_free(pool);
  free((void *)value.data);
  free(port);
}

/* The number of a JSON field, which must be there. */
static unsigned number_of(const char *json, const char *field) {
  unsigned number = 0;
  const char *at = strstr(json, field);
  CHECK(at != NULL && sscanf(at + strlen(field), "\":%u", &number) == 1);
  return number;
}

/* The store closes while a part of more than 2 MB is being sent; the backup connects and sends it again. */
static void a_store_that_is_cut(const char *how) {
  heys_error *error = NULL;
  heys_backup *backup = NULL;
  heys_backup_report *report = NULL;
  char *answer = ask("proxy.listen {\"target\": \"s3\"}"), *usual = strdup(getenv("S3_ENDPOINT")), through[256];
  unsigned proxy = number_of(answer, "\"proxy"), port = number_of(answer, "\"port");
  free(answer);
  /* The endpoint's own host, so that its certificate holds. */
  CHECK(usual != NULL && strrchr(usual, ':') != NULL);
  snprintf(through, sizeof through, "%.*s:%u", (int)(strrchr(usual, ':') - usual), usual, port);
  CHECK(setenv("S3_ENDPOINT", through, 1) == 0);
  TELL("proxy.cutAfter {\"proxy\": %u, \"direction\": \"up\", \"bytes\": 1000000, \"cut\": \"%s\"}", proxy, how);
  OK(heys_backup_new(&backup, &error));
  OK(heys_backup_run(backup, NULL, NULL, &report, &error));
  CHECK(heys_backup_report_bytes(report) > 2000000);
  heys_backup_report_free(report);
  heys_backup_free(backup);
  answer = ask("proxy.stats {\"proxy\": %u}", proxy);
  CHECK(number_of(answer, "\"accepted") > 1 && number_of(answer, "\"bytesUp") > 3000000);
  free(answer);
  TELL("proxy.close {\"proxy\": %u}", proxy);
  CHECK(setenv("S3_ENDPOINT", usual, 1) == 0);
  free(usual);
}

/* Runs `sql` where the environment says. */
static void run(const char *sql) {
  heys_error *error = NULL;
  heys_pool *pool = NULL;
  heys_result *result = NULL;
  OK(heys_pool_new(NULL, NULL, &pool, &error));
  OK(heys_pool_query(pool, sql, NULL, 0, &result, &error));
  heys_result_free(result);
  heys_pool_free(pool);
}

int main(void) {
  struct sigaction before[65], after;
  sigset_t mask_before, mask_after;
  CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
  a_plain_write_would_kill();
  for (int number = 1; number <= 64; number++) seen(number, &before[number]);
  CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask_before) == 0);
  a_server_that_closes(0);
  a_server_that_closes(100000);
  a_connection_that_is_cut("reset");
  a_connection_that_is_cut("close");
  run("DROP TABLE IF EXISTS noise; CREATE TABLE noise AS "
      "SELECT md5(random()::text) || md5(random()::text) AS text FROM generate_series(1, 60000)");
  a_store_that_is_cut("reset");
  a_store_that_is_cut("close");
  run("DROP TABLE noise");
  CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask_after) == 0);
  for (int number = 1; number <= 64; number++) {
    if (!seen(number, &after)) continue;
    CHECK(after.sa_handler == before[number].sa_handler && after.sa_flags == before[number].sa_flags);
    CHECK(sigismember(&mask_after, number) == sigismember(&mask_before, number));
  }
  return 0;
}
