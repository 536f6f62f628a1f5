//! Where root certificates are looked for, and what is said when they are not found.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use heys_core::config::tls;
use heys_core::config::trust::{self, Source};
use heys_core::config::{Places, SslMode, TlsOptions, Trust};
use heys_core::error::Kind;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509NameBuilder};

fn pem(name: &str) -> Vec<u8> {
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(9).unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    builder.build().to_pem().unwrap()
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("heys-trust-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
    fn put(&self, file: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn places(root: &Path) -> Places {
    Places {
        working_folder: Some(root.join("cwd")),
        entry_folders: vec![root.join("app/entry")],
        platform_file: Some(root.join("platform.crt")),
        home: Some(root.join("home")),
        system: false,
        extra_roots: Some(Arc::from(pem("extra"))),
    }
}

fn files(places: Places) -> TlsOptions {
    TlsOptions {
        trust: Trust::Files(places),
        ..TlsOptions::default()
    }
}

#[test]
fn the_first_file_of_the_order_is_the_one_in_use() {
    let folder = Folder::new("order");
    let options = files(places(&folder.0));
    assert_eq!(trust::roots(&options).unwrap().source, Source::Extra);
    // From the last place to the first: each new file wins over those behind it.
    for file in [
        "home/.postgresql/root.crt",
        "platform.crt",
        "app/certs/root.crt",
        "app/entry/shared/certs/root.crt",
        "app/entry/certs/root.crt",
        "cwd/certs/root.crt",
    ] {
        let path = folder.put(file, &pem(file));
        assert_eq!(trust::roots(&options).unwrap().source, Source::File(path));
    }
    let named = folder.put("named.crt", &pem("named"));
    let mut options = options;
    options.ca_file = Some(named.clone());
    assert_eq!(trust::roots(&options).unwrap().source, Source::File(named));
    options.ca = Some(pem("given"));
    assert_eq!(trust::roots(&options).unwrap().source, Source::Given);
}

#[test]
fn a_named_file_that_is_missing_is_an_error_that_names_it() {
    let folder = Folder::new("missing");
    folder.put("cwd/certs/root.crt", &pem("other"));
    let mut options = files(places(&folder.0));
    options.ca_file = Some(folder.0.join("not-there.crt"));
    let error = tls::context(&options, SslMode::VerifyFull).err().unwrap();
    assert_eq!(error.kind(), Kind::Config);
    assert!(
        error.message().contains("not-there.crt") && error.message().contains("PG_SSLROOTCERT"),
        "{error}"
    );
}

#[test]
fn without_any_root_the_error_says_where_it_looked() {
    let folder = Folder::new("none");
    let mut nowhere = places(&folder.0);
    nowhere.extra_roots = None;
    let error = tls::context(&files(nowhere), SslMode::VerifyCa).err().unwrap();
    for wanted in [
        "cwd/certs/root.crt",
        "app/entry/shared/certs/root.crt",
        ".postgresql/root.crt",
        "PG_SSLROOTCERT",
    ] {
        assert!(error.message().contains(wanted), "{error}");
    }
    let given = TlsOptions::default();
    assert!(tls::context(&given, SslMode::VerifyFull).is_err());
    assert!(tls::context(&given, SslMode::NoVerify).is_ok());
}

#[test]
fn the_working_folder_is_never_looked_at_when_only_given_roots_count() {
    let given = TlsOptions {
        ca: Some(pem("given")),
        ..TlsOptions::default()
    };
    assert_eq!(trust::roots(&given).unwrap().source, Source::Given);
    assert!(trust::roots(&TlsOptions::default()).is_err());
}

#[test]
fn a_bundle_gives_all_its_certificates_and_rubbish_is_refused() {
    let folder = Folder::new("bundle");
    let mut bundle = b"# a comment\n".to_vec();
    for i in 0..150 {
        bundle.extend(format!("# number {i}\n").bytes().chain(pem(&format!("root {i}"))));
    }
    folder.put("cwd/certs/root.crt", &bundle);
    let options = files(places(&folder.0));
    assert_eq!(trust::roots(&options).unwrap().certificates.len(), 150);
    tls::context(&options, SslMode::VerifyFull).unwrap();
    folder.put("cwd/certs/root.crt", b"not a certificate");
    let error = trust::roots(&options).err().unwrap();
    assert!(error.message().contains("holds no certificate"), "{error}");
}

#[test]
fn require_verifies_only_with_named_roots() {
    let named = TlsOptions {
        ca_file: Some("/x".into()),
        ..TlsOptions::default()
    };
    assert!(named.verifies(SslMode::Require));
    assert!(!named.verifies(SslMode::NoVerify));
    assert!(!named.verifies(SslMode::Prefer));
    assert!(!TlsOptions::default().verifies(SslMode::Require));
    assert!(TlsOptions::default().verifies(SslMode::VerifyCa));
}
