/*
 * A backup from C, with progress on standard error. Every setting comes from the environment (PG_HOST, S3_BUCKET, …).
 * Ctrl-C cancels: the upload is aborted and nothing is left in the bucket.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "heys.h"

static void show(const heys_backup_progress *progress, void *user_data) {
  (void)user_data;
  fprintf(stderr, "dumped %llu, stored %llu of about %llu bytes\n", (unsigned long long)progress->raw_bytes,
          (unsigned long long)progress->stored_bytes, (unsigned long long)progress->estimated_bytes);
}

/* The library installs no signal handlers, so the program decides: a thread waits for Ctrl-C and cancels. */
static void *wait_for_interrupt(void *backup) {
  sigset_t signals;
  int signal;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigwait(&signals, &signal);
  heys_backup_cancel(backup);
  return NULL;
}

int main(void) {
  heys_error *error = NULL;
  heys_backup *backup = NULL;
  heys_backup_report *report = NULL;
  pthread_t waiter;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);

  heys_status status = heys_backup_new(&backup, &error);
  if (status == HEYS_STATUS_OK) {
    if (pthread_create(&waiter, NULL, wait_for_interrupt, backup) != 0) return 1;
    status = heys_backup_run(backup, show, NULL, &report, &error);
    pthread_cancel(waiter);
    pthread_join(waiter, NULL);
  }
  if (status != HEYS_STATUS_OK) {
    fprintf(stderr, "backup failed: %s\n", heys_error_message(error));
    heys_error_free(error);
    heys_backup_free(backup);
    return 1;
  }
  printf("%s/%s: %llu bytes, sha256 %s\n", heys_backup_report_bucket(report), heys_backup_report_key(report),
         (unsigned long long)heys_backup_report_bytes(report), heys_backup_report_sha256(report));
  for (size_t i = 0; i < heys_backup_report_warnings(report); i++)
    printf("warning: %s\n", heys_backup_report_warning(report, i));
  heys_backup_report_free(report);
  heys_backup_free(backup);
  return 0;
}
