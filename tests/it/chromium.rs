//! A headless browser under a script of `tests/web`, which takes calls and gives answers as lines of
//! JSON. Where Chromium, Firefox, node or its one package is missing, tests that need it say so and pass, but
//! not in CI.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::Running;

/// Where Debian's packages put them.
const CHROMIUM: &str = "/usr/bin/chromium";
const FIREFOX: &str = "/usr/bin/firefox-esr";

/// What the browser takes to end in good order before it is killed.
const FAREWELL: Duration = Duration::from_secs(10);

/// A script of `tests/web` with its browser, at the end of a pipe.
pub(crate) struct Script {
    running: Running,
    _home: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Script {
    /// Starts one with Chromium; `None` when something is missing to run it, which CI does not forgive.
    pub(crate) fn start(script: &str, flags: &[&str]) -> Option<Self> {
        Self::start_with(CHROMIUM, script, flags)
    }

    /// Starts one with Firefox, as well.
    pub(crate) fn start_firefox(script: &str) -> Option<Self> {
        Self::start_with(FIREFOX, script, &[])
    }

    fn start_with(browser: &'static str, script: &str, flags: &[&str]) -> Option<Self> {
        if let Some((what, install)) = missing(browser) {
            assert!(env::var_os("CI").is_none(), "{what} is missing: {install}");
            say(&format!("skipped, {what} is missing: {install}"));
            return None;
        }
        let turn = turn();
        let home = TempDir::new().unwrap();
        let mut node = Command::new("node");
        if browser == FIREFOX {
            // It is spoken with over a WebSocket, which node 20 has behind this option.
            node.arg("--experimental-websocket");
        }
        node.arg(folder().join(script)).arg(browser).args(flags);
        // Whatever it writes goes away with the test.
        node.env("HOME", home.path()).env("TMPDIR", home.path());
        node.env_remove("XDG_CONFIG_HOME").env_remove("XDG_CACHE_HOME");
        let running = Running::new(node);
        let mut script = Self { running, _home: home, _turn: turn };
        let version = script.answer();
        say(&format!("{browser} {}", version.as_str().unwrap()));
        Some(script)
    }

    /// Makes a call and waits for what it returns.
    pub(crate) fn call(&mut self, name: &str, argument: Value) -> Value {
        self.begin(name, argument);
        self.answer()
    }

    /// Makes a call.
    pub(crate) fn begin(&mut self, name: &str, argument: Value) {
        let call = Value::from_iter([("call", name.into()), ("argument", argument)]);
        self.running.type_line(&call.to_string());
    }

    /// Waits for what the call that was made returns.
    pub(crate) fn answer(&mut self) -> Value {
        let mut answer: Value = serde_json::from_str(&self.running.line()).unwrap();
        assert!(answer.get("error").is_none(), "{answer:#}");
        answer["value"].take()
    }
}

impl Drop for Script {
    /// The browser ends with the script that started it; its folder can go only then.
    fn drop(&mut self) {
        self.running.hang_up(FAREWELL);
    }
}

/// Two browsers run at a time: each can take both cores of a small machine, but mostly waits.
fn turn() -> MutexGuard<'static, ()> {
    static TURNS: [Mutex<()>; 2] = [const { Mutex::new(()) }; 2];
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let turn = NEXT.fetch_add(1, Ordering::Relaxed) % TURNS.len();
    // A test that failed has ended its browser all the same.
    TURNS[turn].lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the scripts are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web")
}

/// What these tests need and do not find, and how to get it.
fn missing(browser: &'static str) -> Option<(&'static str, &'static str)> {
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).status();
    if !node.is_ok_and(|status| status.success()) {
        return Some(("node", "install nodejs, 20 or later"));
    }
    if fs::metadata(browser).is_err() {
        return Some((browser, "apt-get install --no-install-recommends chromium firefox-esr"));
    }
    let package = folder().join("node_modules/playwright-core");
    (!package.is_dir()).then_some(("playwright-core", "npm ci --prefix tests/web"))
}

/// Says something to whoever runs the tests, also when they pass.
pub(crate) fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "browser: {what}");
}
