//! The committed header is what cbindgen makes of the sources.

use std::path::Path;

/// `HEYS_WRITE_HEADER=1 cargo test -p heys --test header` writes it anew.
#[test]
fn the_committed_header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is read");
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/version.rs"))
        .with_src(root.join("src/error.rs"))
        .with_src(root.join("src/pool.rs"))
        .with_src(root.join("src/client.rs"))
        .with_src(root.join("src/result.rs"))
        .with_src(root.join("src/backup.rs"))
        .generate()
        .expect("the header is generated");
    let mut made = Vec::new();
    bindings.write(&mut made);
    let made = String::from_utf8(made).expect("the header is UTF-8");
    let path = root.join("include/heys.h");
    if std::env::var_os("HEYS_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).expect("the header is written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "capi/include/heys.h is not what the sources say; write it with HEYS_WRITE_HEADER=1 cargo test -p heys --test header"
    );
}
