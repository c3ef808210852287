//! Processes that are measured: what they say, how much processor time they take, and the most
//! memory that they hold. Each is ended with what owns it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// How long a process may take to say what it is to say before anything is measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one may take to end that was told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long its children may take before that.
const CHILDREN: Duration = Duration::from_millis(500);

/// How often it is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(2);

/// How often it is looked how much memory it holds.
const LOOK_AT_MEMORY: Duration = Duration::from_millis(20);

/// What `/proc` counts processor time in, a second: `USER_HZ`, which Linux never changes.
const TICKS: u32 = 100;

/// A line that a process has said, and when.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) text: String,
}

/// What a process, and those that it started, took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Processor time.
    pub(crate) time: Duration,
    /// The most memory, in bytes.
    pub(crate) peak: u64,
}

/// A process; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<Line>,
    /// What it has said so far.
    pub(crate) said: Vec<Line>,
    peak: u64,
    peak_seen: Option<Instant>,
}

impl Running {
    /// Starts one.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (say, lines) = mpsc::channel();
        follow(child.stdout.take().expect("it was asked for"), say.clone());
        follow(child.stderr.take().expect("it was asked for"), say);
        Self { child, lines, said: Vec::new(), peak: 0, peak_seen: None }
    }

    /// Waits for a line that something can be picked from.
    ///
    /// # Errors
    /// What it said last, when there is no such line.
    pub(crate) fn wait_for<T>(&mut self, pick: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.lines.recv_timeout(until.saturating_duration_since(Instant::now()));
            let Ok(line) = line else {
                return Err(format!("it does not get ready: {:?}", last(&self.said)));
            };
            let picked = pick(&line.text);
            self.said.push(line);
            if let Some(picked) = picked {
                return Ok(picked);
            }
        }
    }

    /// Whether it has ended; what it took can still be seen.
    pub(crate) fn has_ended(&mut self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if self.peak_seen.is_none_or(|at| at.elapsed() > LOOK_AT_MEMORY) {
            self.peak = self.peak.max(peak(self.child.id()));
            self.peak_seen = Some(Instant::now());
        }
        let status = waitid(WaitId::Pid(self.pid()), options).expect("it is a child of this one");
        status.is_some()
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn stop(&mut self) {
        // What its children took counts once it has waited for them.
        let patient = Instant::now() + CHILDREN;
        while !children(self.child.id()).is_empty() && Instant::now() < patient {
            thread::sleep(LOOK);
        }
        // It may have ended.
        let _ = kill_process(self.pid(), Signal::TERM);
        let until = Instant::now() + FAREWELL;
        while !self.has_ended() && Instant::now() < until {
            thread::sleep(LOOK);
        }
    }

    /// What it took, once it has ended; whether it succeeded.
    pub(crate) fn end(mut self) -> (Used, bool, Vec<Line>) {
        let used = Used { time: time(self.child.id()), peak: self.peak };
        let status = self.child.kill().and_then(|()| self.child.wait());
        self.said.extend(self.lines.iter());
        let said = std::mem::take(&mut self.said);
        (used, status.is_ok_and(|status| status.success()), said)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last line that says something.
pub(crate) fn last(said: &[Line]) -> &str {
    let mut texts = said.iter().rev().map(|line| line.text.trim());
    texts.find(|text| !text.is_empty()).unwrap_or_default()
}

/// Waits until all of them have ended; `false` when that takes longer than this.
pub(crate) fn wait_for_all(processes: &mut [&mut Running], until: Instant) -> bool {
    loop {
        super::stop_if_told();
        // All are looked at, for their memory.
        let running = processes.iter_mut().filter_map(|each| (!each.has_ended()).then_some(()));
        if running.count() == 0 {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        thread::sleep(LOOK);
    }
}

/// Processor time of a process that has ended or not, and of its children that it has waited for.
fn time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, which may hold anything, is in parentheses; see proc(5) for what follows.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_secs(ticks) / TICKS
}

/// The most memory of a process and its children, in bytes.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let own = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    own.unwrap_or_default() * 1024 + children(process).into_iter().map(peak).sum::<u64>()
}

fn children(process: u32) -> Vec<u32> {
    let children = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Passes on what a process says.
fn follow(pipe: impl Read + Send + 'static, say: mpsc::Sender<Line>) {
    thread::spawn(move || {
        for text in BufReader::new(pipe).split(b'\n') {
            let Ok(text) = text else { return };
            let text = String::from_utf8_lossy(&text).into_owned();
            // Whoever listened may have ended.
            let _ = say.send(Line { at: Instant::now(), text });
        }
    });
}
