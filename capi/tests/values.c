/* Values by length, NULL and empty, results, errors, and arguments that are wrong. */
#include "support.h"

static heys_pool *pool;

static heys_value text(const char *value) { return (heys_value){value, value ? strlen(value) : 0, false}; }

static int is(const heys_result *result, size_t row, size_t column, const char *wanted) {
  size_t length = 99;
  const char *value = heys_result_value(result, row, column, &length);
  return value != NULL && length == strlen(wanted) && memcmp(value, wanted, length) == 0;
}

static void null_is_not_empty(void) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  const char *sql = "SELECT $1::text, $2::text, $3::text, $2 IS NULL AS empty, $3 IS NULL AS missing";
  const heys_value values[] = {text("Gr\xc3\xbc\xc3\x9f" "e"), {"anything", 0, false}, {NULL, 7, false}};
  OK(heys_pool_query(pool, sql, values, 3, &result, &error));
  size_t length = 99;
  CHECK(heys_result_rows(result) == 1 && heys_result_columns(result) == 5);
  CHECK(is(result, 0, 0, "Gr\xc3\xbc\xc3\x9f" "e"));
  CHECK(heys_result_value(result, 0, 1, &length) != NULL && length == 0 && !heys_result_is_null(result, 0, 1));
  length = 99;
  CHECK(heys_result_value(result, 0, 2, &length) == NULL && length == 0 && heys_result_is_null(result, 0, 2));
  CHECK(is(result, 0, 3, "f") && is(result, 0, 4, "t"));
  CHECK(strcmp(heys_result_column_name(result, 3), "empty") == 0);
  CHECK(heys_result_column_type(result, 0) == 25 && heys_result_column_type(result, 3) == 16);
  /* Outside of the result. */
  CHECK(heys_result_value(result, 1, 0, &length) == NULL && heys_result_value(result, 0, 5, NULL) == NULL);
  CHECK(heys_result_value(result, (size_t)-1, (size_t)-1, NULL) == NULL && heys_result_is_null(result, 0, 5));
  CHECK(heys_result_column_name(result, 5) == NULL && heys_result_column_type(result, 5) == 0);
  heys_result_free(result);
}

static void lengths_count(void) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  const char bytes[] = {0, 1, '\'', (char)0xff, 0};
  const heys_value values[] = {{"abcdef" + 2, 3, false}, {bytes, sizeof bytes, true}};
  OK(heys_pool_query(pool, "SELECT $1::text, encode($2::bytea, 'hex')", values, 2, &result, &error));
  CHECK(is(result, 0, 0, "cde") && is(result, 0, 1, "000127ff00"));
  heys_result_free(result);
  size_t size = 8 << 20, length = 0;
  char *large = malloc(size);
  CHECK(large != NULL);
  memset(large, 'x', size);
  const heys_value one = {large, size, false};
  OK(heys_pool_query(pool, "SELECT $1::text || 'y', length($1)", &one, 1, &result, &error));
  const char *value = heys_result_value(result, 0, 0, &length);
  CHECK(length == size + 1 && memcmp(value, large, size) == 0 && value[size] == 'y');
  CHECK(is(result, 0, 1, "8388608"));
  free(large);
  heys_result_free(result);
}

static void statements_have_tags(void) {
  heys_error *error = NULL;
  heys_result *result = NULL;
  heys_client *client = NULL;
  OK(heys_pool_acquire(pool, &client, &error));
  OK(heys_client_query(client, "CREATE TEMPORARY TABLE numbers (n int PRIMARY KEY)", NULL, 0, &result, &error));
  CHECK(heys_result_columns(result) == 0 && heys_result_row_count(result) == -1);
  CHECK(strcmp(heys_result_command(result), "CREATE TABLE") == 0);
  heys_result_free(result);
  const char *several = "INSERT INTO numbers SELECT generate_series(1, 1000); UPDATE numbers SET n = n; SELECT n FROM numbers";
  OK(heys_client_query(client, several, NULL, 0, &result, &error));
  CHECK(heys_result_rows(result) == 1000 && heys_result_row_count(result) == 1000 && is(result, 999, 0, "1000"));
  CHECK(strcmp(heys_result_command(result), "SELECT 1000") == 0 && heys_result_column_type(result, 0) == 23);
  heys_result_free(result);
  OK(heys_client_query(client, "", NULL, 0, &result, &error));
  CHECK(heys_result_rows(result) == 0 && heys_result_command(result)[0] == '\0' && heys_result_row_count(result) == -1);
  heys_result_free(result);
  /* The server's own words. */
  result = NULL;
  CHECK(heys_client_query(client, "INSERT INTO numbers VALUES (7)", NULL, 0, &result, &error) == HEYS_STATUS_SERVER);
  CHECK(result == NULL && strcmp(heys_error_sqlstate(error), "23505") == 0);
  CHECK(strstr(heys_error_message(error), "numbers_pkey") != NULL && heys_error_hint(error) == NULL);
  CHECK(strcmp(heys_error_detail(error), "Key (n)=(7) already exists.") == 0);
  heys_error_free(error);
  error = NULL;
  const char *raise = "DO $$ BEGIN RAISE EXCEPTION 'no' USING HINT = 'say yes', ERRCODE = 'HEYS1'; END $$";
  CHECK(heys_client_query(client, raise, NULL, 0, &result, &error) == HEYS_STATUS_SERVER);
  CHECK(strcmp(heys_error_sqlstate(error), "HEYS1") == 0 && strcmp(heys_error_hint(error), "say yes") == 0);
  CHECK(strcmp(heys_error_message(error), "no") == 0 && heys_error_detail(error) == NULL);
  heys_error_free(error);
  error = NULL;
  OK(heys_client_query(client, "SELECT 1", NULL, 0, &result, &error));
  heys_result_free(result);
  heys_client_release(client);
}

static void wrong_arguments_are_told(void) {
  heys_error *error = NULL;
  heys_pool *none = NULL;
  heys_result *result = (heys_result *)&error;
  heys_client *client = NULL;
  FAILS(HEYS_STATUS_NULL_ARGUMENT, "", heys_pool_query(NULL, "SELECT 1", NULL, 0, &result, &error));
  FAILS(HEYS_STATUS_NULL_ARGUMENT, "", heys_pool_query(pool, NULL, NULL, 0, &result, &error));
  FAILS(HEYS_STATUS_NULL_ARGUMENT, "", heys_pool_query(pool, "SELECT 1", NULL, 0, NULL, &error));
  FAILS(HEYS_STATUS_NULL_ARGUMENT, "", heys_pool_query(pool, "SELECT $1", NULL, 1, &result, &error));
  FAILS(HEYS_STATUS_INVALID_UTF8, "", heys_pool_query(pool, "SELECT '\xff'", NULL, 0, &result, &error));
  const heys_value wrong = {"\xff", 1, false};
  FAILS(HEYS_STATUS_SERVER, "22021", heys_pool_query(pool, "SELECT $1::text", &wrong, 1, &result, &error));
  heys_value *many = calloc(65536, sizeof *many);
  CHECK(heys_pool_query(pool, "SELECT 1", many, 65536, &result, &error) != HEYS_STATUS_OK);
  heys_error_free(error);
  error = NULL;
  free(many);
  CHECK(heys_pool_query(pool, "SELECT 1/0", NULL, 0, &result, NULL) == HEYS_STATUS_SERVER);
  CHECK(result == (heys_result *)&error);
  FAILS(HEYS_STATUS_NULL_ARGUMENT, "", heys_pool_acquire(NULL, &client, &error));
  FAILS(HEYS_STATUS_NULL_ARGUMENT, "", heys_client_query(NULL, "SELECT 1", NULL, 0, &result, &error));
  FAILS(HEYS_STATUS_NULL_ARGUMENT, "", heys_cancel_send(NULL, &error));
  FAILS(HEYS_STATUS_CONFIG, "", heys_pool_new("port=none", NULL, &none, &error));
  CHECK(none == NULL);
  heys_pool_free(NULL);
  heys_client_release(NULL);
  heys_cancel_free(NULL);
  heys_result_free(NULL);
  heys_error_free(NULL);
  CHECK(heys_result_rows(NULL) == 0 && heys_result_columns(NULL) == 0 && heys_result_row_count(NULL) == -1);
  CHECK(heys_result_command(NULL) == NULL && heys_result_value(NULL, 0, 0, NULL) == NULL);
  CHECK(heys_error_message(NULL) == NULL && heys_error_status(NULL) == HEYS_STATUS_NULL_ARGUMENT);
}

static void a_server_that_refuses_is_told(void) {
  heys_error *error = NULL;
  heys_pool *other = NULL;
  heys_result *result = NULL;
  char conninfo[256];
  const char *form = "host=%s port=%s dbname=%s user=%s password=wrong";
  snprintf(conninfo, sizeof conninfo, form, getenv("PG_HOST"), getenv("PG_PORT"), getenv("PG_DATABASE"), getenv("PG_USER"));
  OK(heys_pool_new(conninfo, NULL, &other, &error));
  FAILS(HEYS_STATUS_SERVER, "28P01", heys_pool_query(other, "SELECT 1", NULL, 0, &result, &error));
  heys_pool_free(other);
  OK(heys_pool_new("host=127.0.0.1 port=1 user=nobody sslmode=disable", NULL, &other, &error));
  FAILS(HEYS_STATUS_CONNECTION, "", heys_pool_query(other, "SELECT 1", NULL, 0, &result, &error));
  heys_pool_free(other);
}

int main(void) {
  heys_error *error = NULL;
  OK(heys_pool_new(NULL, NULL, &pool, &error));
  null_is_not_empty();
  lengths_count();
  statements_have_tags();
  wrong_arguments_are_told();
  a_server_that_refuses_is_told();
  heys_pool_free(pool);
  return 0;
}
