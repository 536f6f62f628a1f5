//! One backup: pg_dump → gzip → S3 multipart → retention → notification.
