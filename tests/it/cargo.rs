//! What is built while tests and benchmarks run.

use std::process::Command;

/// Has Cargo build something, in this package's folder.
pub(crate) fn build(arguments: &[&str]) {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet"]).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    // What Cargo tells whatever it runs of the package would be taken for a change by build scripts
    // that look at it, and half of everything would be built again, now and the next time.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    assert!(build.status().is_ok_and(|status| status.success()), "{arguments:?} is to be built");
}
