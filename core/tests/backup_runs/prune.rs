//! Retention in a real bucket.

use heys_sandbox::s3::{Action, Fault};

use crate::bench::{Bench, SHORT};

fn old(number: usize) -> String {
    format!(
        "heys-production-2001-01-{:02}T{:02}-00-{:02}.dump.gz",
        1 + number / 1200,
        number / 60 % 20,
        number % 60
    )
}

#[tokio::test]
async fn past_the_first_thousand_and_never_a_foreign_key() {
    let bench = Bench::with_dump(SHORT).await;
    let foreign = [
        "heys-production-2001-01-01T00-00-00.dump.gz.md5",
        "heys-production-2001-01-01T00-00-00.dump",
        "heys-production-copy-2001-01-01T00-00-00.dump.gz",
        "heys-production-readme.txt",
        "other-2001-01-01T00-00-00.dump.gz",
        "sub/heys-production-2001-01-01T00-00-00.dump.gz",
    ];
    for key in foreign {
        bench.s3.put_object(key, b"mine", None).unwrap();
    }
    for number in 0..1200 {
        bench.s3.put_object(&old(number), b"old", None).unwrap();
    }
    let report = bench.run().await.unwrap();
    // Three stay: the new one and the two youngest of the old.
    assert_eq!(report.deleted.len(), 1198);
    assert_eq!(report.refused.len(), 2);
    assert!(report.refused[0].contains(&old(1199)) && report.refused[1].contains(&old(1198)));
    let mut left: Vec<String> = foreign.iter().map(|key| (*key).to_owned()).collect();
    left.extend([old(1198), old(1199), report.key]);
    left.sort();
    assert_eq!(bench.keys(), left);
    assert_eq!(report.warnings, [] as [String; 0]);
}

#[tokio::test]
async fn a_listing_that_fails_is_a_warning() {
    let bench = Bench::with_dump(SHORT).await;
    bench.s3.put_object(&old(0), b"old", None).unwrap();
    let denied = Action::Error {
        status: 403,
        code: "AccessDenied".to_owned(),
        message: String::new(),
        retry_after_seconds: None,
    };
    bench.s3.fault(Fault::forever("ListObjectsV2", denied));
    let report = bench.run().await.unwrap();
    assert!(report.warnings[0].contains("storage.editor"), "{:?}", report.warnings);
    assert_eq!(bench.keys().len(), 2);
}

#[tokio::test]
async fn a_deletion_that_fails_is_a_warning_and_the_rest_stays() {
    let bench = Bench::with_dump(SHORT).await;
    for number in 0..20 {
        bench.s3.put_object(&old(number), b"old", None).unwrap();
    }
    let denied = Action::Error {
        status: 403,
        code: "AccessDenied".to_owned(),
        message: String::new(),
        retry_after_seconds: None,
    };
    bench.s3.fault(Fault {
        skip: 3,
        ..Fault::forever("DeleteObject", denied)
    });
    let report = bench.run().await.unwrap();
    assert!(
        report.warnings[0].contains("could not be deleted"),
        "{:?}",
        report.warnings
    );
    assert!(bench.keys().len() >= 18, "{}", bench.keys().len());
    assert!(bench.keys().contains(&report.key));
}

#[tokio::test]
async fn a_failed_backup_prunes_nothing() {
    let bench = Bench::with_dump("exit 1").await;
    for number in 0..10 {
        bench.s3.put_object(&old(number), b"old", None).unwrap();
    }
    bench.run().await.unwrap_err();
    assert_eq!(bench.keys().len(), 10);
}
