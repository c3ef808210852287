//! The sources of the page: their types, their own tests with `tests/vectors`, and that what is
//! committed is what they build to. All of that runs in node.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::chromium::say;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("signal-server/web")
}

/// Runs a script of the page's `package.json`; what is missing for that is not forgiven in CI.
fn run(script: &str) {
    let npm = Command::new("npm").arg("--version").stdout(Stdio::null()).status();
    let is_there =
        npm.is_ok_and(|status| status.success()) && folder().join("node_modules/esbuild").is_dir();
    if !is_there {
        let install = "npm ci --ignore-scripts --prefix signal-server/web";
        assert!(env::var_os("CI").is_none(), "the page's tools are missing: {install}");
        return say(&format!("skipped, the page's tools are missing: {install}"));
    }
    let output = Command::new("npm").args(["run", script]).current_dir(folder()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_types_of_the_page_are_right() {
    run("check");
}

#[test]
fn the_page_runs_the_vectors_and_is_what_its_sources_build_to() {
    run("test");
}
