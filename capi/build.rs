//! Gives libheys.so its soname: the number changes when a released ABI breaks.
fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libheys.so.0");
    println!("cargo:rerun-if-changed=build.rs");
}
