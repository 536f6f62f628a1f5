//! Links the addon as Node expects it (`-z nodelete` among the flags).
fn main() {
    napi_build::setup();
}
