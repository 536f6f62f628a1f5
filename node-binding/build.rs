//! Links the addon as Node expects it (`-z nodelete` among the flags), with nothing exported but what Node looks up.

use std::path::Path;
use std::{env, fs};

fn main() {
    napi_build::setup();
    let target = |name: &str| env::var(name).unwrap_or_default();
    // Only LLD, rustc's own linker for this target, takes a second anonymous version script.
    if target("CARGO_CFG_TARGET_ARCH") == "x86_64" && target("CARGO_CFG_TARGET_ENV") == "gnu" {
        hide_c_interfaces();
    }
}

/// Dependencies with a C interface of their own (`crc-fast`, through aws-sdk-s3) would export it from the addon. rustc's
/// list of exports names it, too; a symbol that is local in any version script stays local.
fn hide_c_interfaces() {
    const FUNCTIONS: &[&str] = &[
        "checksum",
        "checksum_combine",
        "checksum_combine_with_params",
        "checksum_file",
        "checksum_file_with_params",
        "checksum_with_params",
        "clear_error",
        "crc32_iscsi",
        "crc32_iso_hdlc",
        "crc64_nvme",
        "digest_combine",
        "digest_finalize",
        "digest_finalize_reset",
        "digest_free",
        "digest_get_amount",
        "digest_get_state",
        "digest_new",
        "digest_new_with_init_state",
        "digest_new_with_params",
        "digest_reset",
        "digest_update",
        "error_message",
        "get_calculator_target",
        "get_custom_params",
        "get_last_error",
        "get_version",
    ];
    let folder = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let script = Path::new(&folder).join("local.map");
    let names: String = FUNCTIONS.iter().map(|name| format!("    crc_fast_{name};\n")).collect();
    fs::write(&script, format!("{{\n  local:\n{names}}};\n")).expect("OUT_DIR can be written");
    println!("cargo::rustc-link-arg-cdylib=-Wl,--version-script={}", script.display());
}
