//! pg_dump's ways to fail: never an object, always a message that says what happened.

use heys_core::error::Kind;

use crate::bench::{Bench, SHORT, TWENTY_MEGABYTES};

async fn dump_fails(script: &str, why: &str) {
    let bench = Bench::with_dump(script).await;
    let error = bench.fails().await;
    assert_eq!(error.kind(), Kind::Dump);
    assert!(error.message().contains(why), "{error}");
}

#[tokio::test]
async fn killed_before_its_first_byte() {
    dump_fails("kill -9 $$", "signal 9").await;
}

#[tokio::test]
async fn killed_in_the_middle() {
    dump_fails(&format!("{TWENTY_MEGABYTES}; kill -9 $$"), "signal 9").await;
}

#[tokio::test]
async fn killed_at_the_last_byte_of_a_real_dump() {
    let real = Bench::new().await.postgres.info().bin_dir.join("pg_dump");
    dump_fails(&format!("{} \"$@\"; kill -TERM $$", real.display()), "signal 15").await;
}

#[tokio::test]
async fn exit_code_1_after_the_whole_output() {
    dump_fails(
        &format!("{SHORT}; echo 'pg_dump: error: the last query failed' >&2; exit 1"),
        "exit code 1: pg_dump: error: the last query failed",
    )
    .await;
}

#[tokio::test]
async fn success_without_output() {
    dump_fails("exit 0", "without any output").await;
}

#[tokio::test]
async fn success_with_something_else_than_an_archive() {
    dump_fails("head -c 10000000 /dev/urandom", "custom format").await;
}

#[tokio::test]
async fn too_old_for_the_server() {
    let mut bench = Bench::new().await;
    bench.use_dump("9.6.24", SHORT);
    let error = bench.fails().await;
    assert!(error.message().contains("postgresql-client-"), "{error}");
}

#[tokio::test]
async fn missing() {
    let mut bench = Bench::new().await;
    bench.settings.pg_dump.explicit = Some(bench.folder.path().join("nothing"));
    let error = bench.fails().await;
    assert!(error.message().contains("PG_DUMP_PATH"), "{error}");
}

#[tokio::test]
async fn a_permission_that_the_preflight_cannot_see_is_explained() {
    let say = "pg_dump: error: query failed: ERROR:  permission denied for large object 7";
    dump_fails(&format!("{SHORT}; echo '{say}' >&2; exit 1"), "GRANT SELECT").await;
}

#[tokio::test]
async fn warnings_are_no_failures() {
    let bench = Bench::with_dump(&format!("{SHORT}; echo 'pg_dump: warning: odd' >&2")).await;
    let report = bench.run().await.unwrap();
    assert_eq!(report.warnings, ["pg_dump: warning: odd"]);
}

#[tokio::test]
async fn a_flood_on_stderr_does_not_block_it() {
    let flood = "yes 'pg_dump: warning: again' | head -n 200000 >&2";
    let report = Bench::with_dump(&format!("{SHORT}; {flood}"))
        .await
        .run()
        .await
        .unwrap();
    assert_eq!(report.warnings.len(), 20);
}

#[tokio::test]
async fn neither_password_nor_token_is_in_its_arguments_and_only_the_password_in_its_environment() {
    let mut bench = Bench::new().await;
    let (env, args) = (bench.folder.path().join("env"), bench.folder.path().join("args"));
    bench.use_dump(
        "99.0",
        &format!("env > {}; echo \"$@\" > {}; {SHORT}", env.display(), args.display()),
    );
    bench.run().await.unwrap();
    bench.assert_no_secret(&std::fs::read_to_string(args).unwrap());
    let env = std::fs::read_to_string(env).unwrap();
    let password = format!("PGPASSWORD={}\n", bench.postgres.info().password);
    assert!(env.contains(&password), "{env}");
    bench.assert_no_secret(&env.replace(&password, ""));
}
