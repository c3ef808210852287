//! What the tests are made of: folders, files, servers and processes, all of which end with the
//! test that made them.
//!
//! Nothing here sleeps: tests wait for what processes say, and [`PATIENCE`] only guards against
//! waiting for ever.

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::cargo::build;

/// A generous guard: far longer than anything takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The same for what a process is waited for that goes on talking of something else.
const WHOLE_PATIENCE: Duration = Duration::from_secs(600);

/// Bytes of a file that takes seconds on any machine.
const LARGE: u64 = 400_000_000;

/// How a large file is sent that is to take seconds on any machine.
pub(crate) const LESS_SLOW: [&str; 2] = ["--bwlimit", "130M"];

/// How questions end, which are answered on the same line.
const QUESTIONS: [&str; 3] = ["Code: ", "[Y/n] ", "[y/N] "];

/// A folder for one test, with a `sender` and a `receiver` in it.
pub(crate) struct Scene {
    root: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let root = TempDir::new().unwrap();
        for name in ["sender", "receiver", "config"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        Self { root }
    }

    /// The folder that the sender runs in.
    pub(crate) fn sender(&self) -> PathBuf {
        self.root.path().join("sender")
    }

    /// The folder that the receiver runs in.
    pub(crate) fn receiver(&self) -> PathBuf {
        self.root.path().join("receiver")
    }

    /// A file of the sender with bytes that do not repeat.
    pub(crate) fn file(&self, name: &str, size: usize) -> PathBuf {
        let path = self.sender().join(name);
        fs::write(&path, bytes(size)).unwrap();
        path
    }

    /// A large file of the sender: long enough under way for a test to do something meanwhile.
    pub(crate) fn large_file(&self, name: &str) -> PathBuf {
        self.file_of_zeros(name, LARGE)
    }

    /// A file of the sender without a byte but zeros.
    pub(crate) fn file_of_zeros(&self, name: &str, size: u64) -> PathBuf {
        let path = self.sender().join(name);
        fs::File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    /// What the receiver's folder holds, hidden things included.
    pub(crate) fn received(&self) -> Vec<String> {
        let entries = fs::read_dir(self.receiver()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What bears a name in the receiver's folder: without the hidden folder in which an
    /// interrupted transfer leaves what it has.
    pub(crate) fn named(&self) -> Vec<String> {
        let mut names = self.received();
        names.retain(|name| !name.starts_with(".p2pshare-"));
        names
    }

    /// `p2pshare` with some arguments, run in a folder, telling events as JSON.
    pub(crate) fn p2pshare(&self, folder: &Path, arguments: &[&str]) -> Start {
        let mut command = Command::new(env!("CARGO_BIN_EXE_p2pshare"));
        command
            .current_dir(folder)
            .args(arguments)
            .env("P2PSHARE_CONFIG_DIR", self.root.path().join("config"))
            .env("P2PSHARE_STATE_DIR", self.root.path().join("state"))
            .env_remove("P2PSHARE_SERVER")
            .env("NO_PROXY", "*")
            .env_remove("P2PSHARE_CODE")
            .env_remove("P2PSHARE_LOG");
        Start { command }
    }

    /// A sender of a file, at a server, that tells events.
    pub(crate) fn send(&self, server: &Server, path: &Path) -> Start {
        let path = path.to_str().unwrap();
        self.p2pshare(&self.sender(), &["--json", "--server", &server.url(), "send", path])
    }

    /// A sender of a file without a server, that tells events.
    pub(crate) fn send_on_lan(&self, path: &Path) -> Start {
        self.p2pshare(&self.sender(), &["--json", "send", path.to_str().unwrap()])
    }

    /// A receiver without a server that takes what is offered and tells events.
    pub(crate) fn receive_on_lan(&self, code: &str) -> Start {
        self.p2pshare(&self.receiver(), &["--json", "receive", "-y", code])
    }

    /// A receiver at a server that asks before it takes anything, and tells events.
    pub(crate) fn receive_asking(&self, server: &Server, code: &str) -> Start {
        self.p2pshare(&self.receiver(), &["--json", "--server", &server.url(), "receive", code])
    }

    /// A receiver at a server that takes what is offered and tells events.
    pub(crate) fn receive(&self, server: &Server, code: &str) -> Start {
        let server = server.url();
        self.p2pshare(&self.receiver(), &["--json", "--server", &server, "receive", "-y", code])
    }
}

/// Tests whose senders embed their own server take turns: there is one LAN, and two senders with
/// one nameplate on it would disturb each other.
pub(crate) fn turn_on_lan() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // One that failed has ended its processes all the same.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this system lets a command make a mount namespace of its own. A test that needs one is
/// passed over elsewhere, but not where everything is to be tested.
#[expect(clippy::print_stderr, reason = "whoever runs the tests is to know what was left out")]
pub(crate) fn can_unshare() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped, since mount namespaces need root and util-linux");
    }
    assert!(can || std::env::var_os("CI").is_none(), "where CI is set, this is to be tested");
    can
}

/// Goes through cases that share nothing, so many at a time: most of what they do is wait.
pub(crate) fn side_by_side<T: Send>(
    width: usize,
    cases: impl IntoIterator<Item = T, IntoIter: Send>,
    run: impl Fn(T) + Sync,
) {
    let cases = Mutex::new(cases.into_iter());
    let next = || cases.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                while let Some(case) = next() {
                    run(case);
                }
            });
        }
    });
}

/// Bytes that do not repeat, the same each time.
pub(crate) fn bytes(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// SHA-256 of a file.
pub(crate) fn sha256(path: &Path) -> [u8; 32] {
    let mut file = fs::File::open(path).unwrap();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hasher.finalize().into(),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// The most memory that a process has held, in bytes; 0 when it has ended.
pub(crate) fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

/// A command that is about to start.
pub(crate) struct Start {
    command: Command,
}

impl Start {
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// Sends so slowly that there is time to do something meanwhile.
    pub(crate) fn slowly(self) -> Self {
        LESS_SLOW.into_iter().fold(self, Self::arg)
    }

    pub(crate) fn os_arg(mut self, argument: &OsStr) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the command inside a network namespace.
    pub(crate) fn in_namespace(self, namespace: &str) -> Self {
        self.under("ip", &["netns", "exec", namespace])
    }

    /// Runs the command without what root may do to files beyond their modes.
    pub(crate) fn without_privileges(self) -> Self {
        if rustix::process::geteuid().is_root() {
            self.under("setpriv", &["--bounding-set", "-dac_override,-dac_read_search"])
        } else {
            self
        }
    }

    /// Has another program run the command, which follows that program's own arguments.
    pub(crate) fn under(self, program: &str, arguments: &[&str]) -> Self {
        let own = [self.command.get_program()].into_iter().chain(self.command.get_args());
        let own: Vec<_> = own.map(OsStr::to_owned).collect();
        let mut start = self.instead(program, arguments);
        start.command.args(own);
        start
    }

    /// Runs another command in its place.
    pub(crate) fn instead(self, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { command }
    }

    /// Starts it.
    pub(crate) fn start(self) -> Running {
        Running::new(self.command)
    }
}

/// A process; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<Line>,
    /// Lines of standard output so far.
    pub(crate) stdout: Vec<String>,
    /// Lines of standard error so far.
    pub(crate) stderr: Vec<String>,
}

enum Line {
    Out(String),
    Err(String),
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Running {
    /// Starts a command.
    pub(crate) fn new(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (say, lines) = mpsc::channel();
        follow(child.stdout.take().unwrap(), say.clone(), Line::Out);
        follow(child.stderr.take().unwrap(), say, Line::Err);
        let stdin = child.stdin.take();
        Self { child, stdin, lines, stdout: Vec::new(), stderr: Vec::new() }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The command line, as every user of the machine can see it.
    pub(crate) fn command_line(&self) -> String {
        let path = format!("/proc/{}/cmdline", self.id());
        String::from_utf8(fs::read(path).unwrap()).unwrap().replace('\0', " ")
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for an event of a name, as `--json` tells it.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        self.wait(name, event(name))
    }

    /// Waits for an event of a name; `None` when the process ends without it.
    pub(crate) fn event_or_end(&mut self, name: &str) -> Option<Value> {
        self.wait_or_end(name, event(name))
    }

    /// The code that a sender tells as an event.
    pub(crate) fn code(&mut self) -> String {
        self.event("code")["code"].as_str().unwrap().to_owned()
    }

    /// Waits until bytes of the file are on their way.
    pub(crate) fn under_way(&mut self) {
        while self.event("progress")["bytes"] == 0 {}
    }

    /// Waits for a line of standard output.
    pub(crate) fn line(&mut self) -> String {
        self.wait("a line", |line| match line {
            Line::Out(text) => Some(text.clone()),
            Line::Err(_) => None,
        })
    }

    /// Waits for a line, wherever it is printed, that something can be picked from.
    pub(crate) fn any_line<T>(&mut self, pick: impl Fn(&str) -> Option<T>) -> T {
        self.wait("such line", |line| match line {
            Line::Out(text) | Line::Err(text) => pick(text),
        })
    }

    /// Waits for a line of standard error that holds a text.
    pub(crate) fn stderr_line(&mut self, part: &str) -> String {
        self.wait(part, |line| match line {
            Line::Err(text) if text.contains(part) => Some(text.clone()),
            _ => None,
        })
    }

    fn wait<T>(&mut self, what: &str, pick: impl Fn(&Line) -> Option<T>) -> T {
        self.wait_or_end(what, pick).unwrap_or_else(|| self.give_up(what))
    }

    /// Waits for a line that something can be picked from; `None` when the process ends without it.
    fn wait_or_end<T>(&mut self, what: &str, pick: impl Fn(&Line) -> Option<T>) -> Option<T> {
        let until = Instant::now() + WHOLE_PATIENCE;
        loop {
            let patience = PATIENCE.min(until.saturating_duration_since(Instant::now()));
            let line = match self.lines.recv_timeout(patience) {
                Ok(line) => line,
                // Both pipes close when the process ends.
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => self.give_up(what),
            };
            let picked = pick(&line);
            self.keep(line);
            if picked.is_some() {
                return picked;
            }
        }
    }

    fn give_up(&self, what: &str) -> ! {
        panic!("no {what}; out {:#?}, err {:#?}", self.stdout, self.stderr)
    }

    fn keep(&mut self, line: Line) {
        match line {
            Line::Out(text) => self.stdout.push(text),
            Line::Err(text) => self.stderr.push(text),
        }
    }

    /// Sends a signal: `INT`, `TERM`, `KILL`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Closes its standard input and waits a while for it to end.
    pub(crate) fn hang_up(&mut self, patience: Duration) {
        drop(self.stdin.take());
        while let Ok(line) = self.lines.recv_timeout(patience) {
            self.keep(line);
        }
    }

    /// Closes its standard input and waits until it ends.
    pub(crate) fn finish(mut self) -> Finished {
        drop(self.stdin.take());
        self.ended()
    }

    /// Waits until it ends.
    pub(crate) fn ended(mut self) -> Finished {
        self.wait_or_end("end", |_| None::<()>);
        let status = self.child.wait().unwrap();
        let (stdout, stderr) = (self.stdout.clone(), self.stderr.clone());
        Finished { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            self.hang_up(Duration::from_secs(1));
            eprintln!("a process said, out {:#?}, err {:#?}", self.stdout, self.stderr);
        }
    }
}

/// Picks an event of a name, as `--json` tells it.
fn event(name: &str) -> impl Fn(&Line) -> Option<Value> {
    move |line| {
        let Line::Out(text) = line else { return None };
        let event: Value = serde_json::from_str(text).ok()?;
        (event["event"] == name).then_some(event)
    }
}

/// Passes on what a process says, line by line; a question is a line, too.
fn follow(mut pipe: impl Read + Send + 'static, say: mpsc::Sender<Line>, kind: fn(String) -> Line) {
    thread::spawn(move || {
        let (mut said, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let count = pipe.read(&mut buffer).unwrap_or_default();
            said.extend_from_slice(&buffer[..count]);
            let is_over = count == 0 && !said.is_empty();
            let is_question = QUESTIONS.iter().any(|question| said.ends_with(question.as_bytes()));
            if is_over || is_question {
                said.push(b'\n');
            }
            while let Some(end) = said.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&said[..end]).into_owned();
                said.drain(..=end);
                // The test may have ended.
                let _ = say.send(kind(line));
            }
            if count == 0 {
                return;
            }
        }
    });
}

impl Finished {
    /// The exit code.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Asserts an exit code, and shows what was said when it is another.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self:#?}");
        self
    }

    /// All that was told, as JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        let parse = |line: &String| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        self.stdout.iter().map(parse).collect()
    }

    /// The last event of a name.
    pub(crate) fn event(&self, name: &str) -> Value {
        let events = self.stdout.iter().rev().filter_map(|line| serde_json::from_str(line).ok());
        let mut named = events.filter(|event: &Value| event["event"] == name);
        named.next().unwrap_or_else(|| panic!("no event {name} in {self:#?}"))
    }

    /// Whether an event of a name was told.
    pub(crate) fn has(&self, name: &str) -> bool {
        let events = self.stdout.iter().filter_map(|line| serde_json::from_str(line).ok());
        events.into_iter().any(|event: Value| event["event"] == name)
    }
}

/// A rendezvous server of its own, at a free port of loopback.
pub(crate) struct Server {
    running: Running,
    address: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::listen("127.0.0.1:0", arguments, |start| start)
    }

    /// One at another address than loopback.
    pub(crate) fn start_at(listen: &str) -> Self {
        Self::listen(listen, &[], |start| start)
    }

    /// One in a network namespace, at an address of it.
    pub(crate) fn start_in(namespace: &str, listen: &str) -> Self {
        Self::listen(listen, &[], |start| start.in_namespace(namespace))
    }

    /// One in a network namespace, with further arguments.
    pub(crate) fn start_in_with(namespace: &str, listen: &str, arguments: &[&str]) -> Self {
        Self::listen(listen, arguments, |start| start.in_namespace(namespace))
    }

    fn listen(address: &str, arguments: &[&str], place: impl Fn(Start) -> Start) -> Self {
        let mut command = Command::new(server_binary());
        command.args(["--listen", address]).args(arguments).env_remove("P2PSHARE_LOG");
        let mut running = place(Start { command }).start();
        let line = running.line();
        let address = line.rsplit(' ').next().unwrap().to_owned();
        Self { running, address }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Has it end by itself.
    pub(crate) fn end(self) -> Finished {
        self.running.signal("TERM");
        self.running.finish()
    }

    /// Kills it.
    pub(crate) fn kill(self) {
        drop(self.running);
    }
}

/// The server's binary is one of another package, so it is built here, once.
fn server_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_p2pshare")).parent().unwrap();
        let release = folder.ends_with("release").then_some("--release");
        let package = ["--package", "p2pshare-signal"].into_iter();
        build(&package.chain(release).collect::<Vec<_>>());
        folder.join("p2pshare-signal")
    })
}
