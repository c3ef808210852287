//! What is shown: the only file that prints. Bars on a terminal, plain lines elsewhere, JSON
//! for programs, next to nothing when quiet.
//!
//! Standard output is for data (the code when quiet, JSON); everything else goes to standard
//! error. What comes from the other end is escaped before a terminal sees it.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{
    HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle,
};
use p2pshare::{
    Answer, Complete, Conflict, Event, Finding, Lanes, Left, Link, Offer, Path, Progress, Question,
    Sample, Shown, Stage, Told, Verdict, shown,
};
use tokio::sync::oneshot;

use super::{args::General, json, qr};

/// Pause between lines of progress where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How fast the spinner turns.
const SPIN: Duration = Duration::from_millis(100);

/// In which form things are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bars,
    Lines,
    Quiet,
    Json,
}

/// Shows events.
#[derive(Debug)]
pub(crate) struct Ui {
    form: Form,
    program: String,
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    /// Whether it was said what is done about names that are taken.
    conflict_decided: bool,
    /// Whether the figures of the network are shown, too.
    verbose: bool,
    /// What the other end is to do with the code.
    verb: &'static str,
    /// The user's wish for a QR code of the link.
    qr: Option<bool>,
}

impl Ui {
    /// Chooses the form: options first, then whether there is a terminal.
    pub(crate) fn new(general: &General) -> Self {
        let form = match (general.json, general.quiet) {
            (true, _) => Form::Json,
            (_, true) => Form::Quiet,
            _ if io::stderr().is_terminal() && !general.no_progress => Form::Bars,
            _ => Form::Lines,
        };
        let (bar, last_line) = (None, None);
        let (program, verbose) = (program(), general.verbose);
        let (conflict_decided, verb, qr) = (false, "receive", None);
        Self { form, program, bar, last_line, conflict_decided, verbose, verb, qr }
    }

    /// The user wants a QR code of the link, or none; otherwise there is one where it is of use.
    pub(crate) fn draw_links(&mut self, wish: Option<bool>) {
        self.qr = wish;
    }

    /// It was said what is done about names that are taken: nobody needs to be asked.
    pub(crate) fn do_not_ask_about_conflicts(&mut self) {
        self.conflict_decided = true;
    }

    /// What the other end is to do with the code.
    pub(crate) fn invite_with(&mut self, verb: &'static str) {
        self.verb = verb;
    }

    /// Shows an event, or asks a question.
    pub(crate) fn show(&mut self, event: Event) {
        match self.form {
            Form::Json => out(&json::event(&event).to_string()),
            Form::Quiet => match &event {
                Event::Code(invitation) => out(&invitation.code),
                Event::Text(text) => show_text(text),
                _ => {}
            },
            Form::Bars | Form::Lines => self.tell(&event),
        }
        if let Event::Question(question, answer) = event {
            self.ask(&question, answer);
        }
    }

    /// Shows how a session failed.
    pub(crate) fn fail(&mut self, told: &Told) {
        self.clear();
        if self.form == Form::Json {
            out(&json::error(told).to_string());
            return;
        }
        err(&told.sentence);
        if let Some(hint) = told.hint {
            err(&format!("hint: {hint}"));
        }
    }

    /// Where a stream comes from that is to come from the standard input.
    pub(crate) fn input() -> Box<dyn io::Read + Send> {
        Box::new(io::stdin())
    }

    /// Where a file goes that is to go to the standard output.
    pub(crate) fn pipe() -> Box<dyn Write + Send> {
        Box::new(io::stdout())
    }

    /// Prints data.
    pub(crate) fn data(line: &str) {
        out(line);
    }

    /// Asks for a line, without an echo of what was asked on standard output.
    pub(crate) fn prompt(question: &str) -> io::Result<String> {
        write!(io::stderr(), "{question}")?;
        io::stderr().flush()?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(line)
    }

    fn tell(&mut self, event: &Event) {
        match event {
            Event::Progress(progress) => return self.progress(progress),
            Event::Finishing => return self.finishing(),
            _ => self.clear(),
        }
        match event {
            Event::ServerUnreachable { server, error } => {
                err(&format!("The server {server} does not answer ({error})."));
                err("Going on without it: the receiver must be on this network.");
            }
            Event::Unportable { name, why } => {
                err(&format!("Note: some systems cannot hold the name {}: {why}.", shown(name)));
            }
            Event::LeftOut { path, why } => {
                err(&format!("Left out: {}: {why}.", shown(&path.to_string_lossy())));
            }
            Event::Withdrawn { path, why } => {
                let why = why.as_deref().unwrap_or("it changed, or cannot be read, at the sender");
                err(&format!("Not sent: {}: {}.", shown(path), shown(why)));
            }
            Event::Reconnecting(patience) => {
                let patience = HumanDuration(*patience);
                self.spin(&format!(
                    "The connection is lost; waiting up to {patience:#} for the other end"
                ));
            }
            Event::Resuming => self.spin("Looking for the sender of the interrupted transfer"),
            Event::Listing(entries) => {
                for (path, bytes) in entries {
                    let bytes = bytes.map(|bytes| HumanBytes(bytes).to_string());
                    err(&format!("{:>12}  {path}", bytes.unwrap_or_default()));
                }
            }
            Event::Text(text) => show_text(text),
            Event::NoDiscovery(error) => {
                err(&format!("Note: {error}."));
                err("hint: the receiver needs the code with @host:port");
            }
            Event::Code(invitation) => self.invite(invitation),
            Event::WrongCode => {
                err("Somebody came with a wrong code; that code is used up, and nothing was sent.");
            }
            Event::Searching => self.spin("Looking for the sender on this network"),
            Event::StillSearching => {
                err("Not found yet. Is the sender running, and on the same network?");
                self.spin("Still looking (Ctrl-C to stop)");
            }
            Event::Connecting => self.spin("Connecting"),
            Event::Connected(path) => err(&format!("Connected: {}.", way(*path))),
            Event::Verifier(words) => err(&format!("Verifier: {}", words.join(" "))),
            Event::Offer(offer) => describe(offer),
            Event::Complete(complete) => completed(complete),
            Event::Question(..) | Event::Progress(_) | Event::Finishing => {}
        }
    }

    fn invite(&mut self, invitation: &Shown) {
        let Shown { code, at, server, link } = invitation;
        let Self { program, verb, .. } = &*self;
        let server = server.as_ref().map(|url| format!("--server {url} ")).unwrap_or_default();
        err(&format!("Code is: {code}"));
        err("On the other machine, run:");
        err(&format!("\n    {program} {server}{verb} {code}\n"));
        if let Some(at) = at {
            err("or, should it not find this one by itself:");
            err(&format!("\n    {program} {verb} {code}@{at}\n"));
        }
        // A page would keep the noise of a measurement.
        link.iter().filter(|_| *verb == "receive").for_each(|link| self.tell_link(link));
        self.spin("Waiting for the receiver (Ctrl-C to stop)");
    }

    fn tell_link(&self, link: &Link) {
        err("or open in a browser there:");
        err(&format!("\n    {}\n", link.url));
        let is_of_use = self.form == Form::Bars && link.is_for_others;
        if self.qr.unwrap_or(is_of_use) {
            qr::half_blocks(&link.url).iter().flatten().for_each(|line| err(&lit(line)));
            err("");
        }
    }

    fn spin(&mut self, message: &str) {
        if self.form == Form::Lines {
            return err(&format!("{message}."));
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
            .with_style(ProgressStyle::default_spinner());
        bar.set_message(message.to_owned());
        bar.enable_steady_tick(SPIN);
        self.bar = Some(bar);
    }

    fn progress(&mut self, progress: &Progress) {
        let message = self.message(progress);
        if self.form == Form::Lines {
            let due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY);
            if due && progress.done != progress.total && progress.rate > 0.0 {
                self.last_line = Some(Instant::now());
                err(&format!(
                    "{} of {}, {message}",
                    HumanBytes(progress.done),
                    HumanBytes(progress.total)
                ));
            }
            return;
        }
        let bar = self.bar.get_or_insert_with(|| transfer_bar(progress.total));
        bar.set_length(progress.total.max(progress.done));
        bar.set_position(progress.done);
        bar.set_message(message);
    }

    fn message(&self, progress: &Progress) -> String {
        let limit = progress.limit.map(|limit| format!(", limited by {limit}"));
        let lanes =
            progress.lanes.filter(|_| self.verbose).map(|lanes| format!("; {}", figures(lanes)));
        let over = Some(format!(", over {}", progress.over));
        [Some(rate(progress)), over, limit, lanes].into_iter().flatten().collect()
    }

    fn finishing(&mut self) {
        match &self.bar {
            Some(bar) => bar.set_message("making sure that it is on the disk"),
            None if self.form == Form::Bars => self.spin("Making sure that it is on the disk"),
            None => {}
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Asks on a thread of its own, since reading a line cannot be broken off.
    fn ask(&self, question: &Question, answer: oneshot::Sender<Answer>) {
        let conflict = matches!(question, Question::Accept(offer) if !offer.existing.is_empty());
        let conflict = conflict && !self.conflict_decided;
        let asked = match (self.form, question) {
            (Form::Json | Form::Quiet, _) => String::new(),
            (_, Question::Accept(offer)) => {
                describe(offer);
                let choice =
                    if conflict { "[Y]es, renamed / [o]verwrite / [s]kip / [n]o" } else { "[Y/n]" };
                format!("Receive {}? {choice} ", of(offer))
            }
            (_, Question::SameWords) => "Does the other end show the same words? [y/N] ".to_owned(),
        };
        let no_by_default = *question == Question::SameWords;
        std::thread::spawn(move || {
            let line = Self::prompt(&asked).unwrap_or_default();
            // The session may have ended meanwhile.
            let _ = answer.send(meant(&line, no_by_default, conflict));
        });
    }

    /// Shows what interrupted transfers have left.
    pub(crate) fn left(&self, left: &[Left]) {
        if self.form == Form::Json {
            return left.iter().for_each(|left| out(&json::left(left).to_string()));
        }
        if left.is_empty() {
            return err("Nothing is left of interrupted transfers.");
        }
        for left in left {
            let items: Vec<_> = left.items.iter().map(|item| shown(item)).collect();
            let place = shown(&left.path.to_string_lossy());
            out(&format!("{}  {}  {place}", HumanBytes(left.bytes), items.join(", ")));
        }
        err("hint: receiving the same into the same folder goes on with it; \
             `p2pshare transfers discard` throws it away");
    }

    /// Shows what a stage of a transfer does alone.
    pub(crate) fn stage(&self, stage: &Stage) {
        if self.form == Form::Json {
            return out(&json::stage(stage).to_string());
        }
        let rate = format!("{}/s", HumanBytes(stage.rate));
        out(&format!("{:<7} {rate:>14}  {}", stage.name, stage.what));
    }

    /// Shows what was found out about the network.
    pub(crate) fn finding(&self, finding: &Finding) {
        if self.form == Form::Json {
            return out(&json::finding(finding).to_string());
        }
        let mark = match finding.verdict {
            Verdict::Good => "ok  ",
            Verdict::Fair => "    ",
            Verdict::Bad => "no  ",
        };
        out(&format!("{mark}{:<10} {}", finding.about, finding.sentence));
        if let Some(advice) = finding.advice {
            out(&format!("{:14} {advice}", ""));
        }
    }

    /// Says what was thrown away.
    pub(crate) fn discarded(&self, left: &[Left]) {
        match self.form {
            Form::Json => left.iter().for_each(|left| out(&json::left(left).to_string())),
            Form::Quiet => {}
            _ => err(&format!("Thrown away: {}.", count(left.len() as u64, "transfer"))),
        }
    }
}

/// What a line means.
fn meant(line: &str, no_by_default: bool, conflict: bool) -> Answer {
    match line.trim().to_lowercase().as_str() {
        "o" | "overwrite" if conflict => Answer::With(Conflict::Replace),
        "s" | "skip" if conflict => Answer::With(Conflict::Skip),
        "r" | "rename" if conflict => Answer::With(Conflict::Rename),
        _ if is_yes(line, no_by_default) => Answer::Yes,
        _ => Answer::No,
    }
}

/// An empty line is the default; the end of the input, which has no line at all, is a no.
fn is_yes(line: &str, no_by_default: bool) -> bool {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => true,
        "" => !line.is_empty() && !no_by_default,
        _ => false,
    }
}

/// The name under which a person can call this program from here.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if called.contains(std::path::MAIN_SEPARATOR) { called } else { "p2pshare".to_owned() }
}

fn way(path: Path) -> &'static str {
    match path {
        Path::Lan => "directly, within this network",
        Path::Direct => "directly",
        Path::Relay => "through a relay",
    }
}

/// An offer in a few words.
fn of(offer: &Offer) -> String {
    let name = offer.names.first().map(|name| shown(name)).unwrap_or_default();
    let bytes = HumanBytes(offer.bytes);
    match (offer.items, offer.is_stream, offer.is_text) {
        (_, true, _) => format!("{name} (a stream, size unknown)"),
        (_, _, true) => format!("a message ({bytes})"),
        (0 | 1, ..) if offer.folders == 0 => format!("{name} ({bytes})"),
        (0 | 1, ..) => format!("{name}/ ({}, {bytes})", count(offer.files, "file")),
        (items, ..) => {
            let files = count(offer.files, "file");
            format!("{name} and {} more ({files}, {bytes})", items - 1)
        }
    }
}

/// What to look at before an offer is taken.
fn describe(offer: &Offer) {
    err(&format!("Offer: {}", of(offer)));
    if offer.items > 1 {
        let names: Vec<_> = offer.names.iter().map(|name| shown(name)).collect();
        let more = if offer.items as usize > names.len() { ", ..." } else { "" };
        err(&format!("  {}{more}", names.join(", ")));
    }
    warn("hidden", &offer.hidden);
    warn("executable", &offer.executable);
    warn("named in a way that some systems cannot hold", &offer.unportable);
    if offer.held > 0 {
        err(&format!("  here from an earlier attempt: {}", HumanBytes(offer.held)));
    }
    if !offer.existing.is_empty() {
        let names: Vec<_> = offer.existing.iter().take(10).map(|name| shown(name)).collect();
        err(&format!("  exists here: {}", names.join(", ")));
    }
    if let Some(free) = offer.free.filter(|_| !offer.is_text) {
        err(&format!("  free space: {}", HumanBytes(free)));
    }
}

fn warn(what: &str, sample: &Sample) {
    if sample.count > 0 {
        let paths: Vec<_> = sample.paths.iter().map(|path| shown(path)).collect();
        let more = if sample.count as usize > paths.len() { ", ..." } else { "" };
        err(&format!("  {what}: {} ({}{more})", sample.count, paths.join(", ")));
    }
}

fn count(count: impl Into<u64> + Copy, what: &str) -> String {
    match count.into() {
        1 => format!("1 {what}"),
        count => format!("{} {what}s", HumanCount(count)),
    }
}

/// A text for a person is escaped, for a program it is not.
fn show_text(text: &[u8]) {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        // Whoever reads it may have gone.
        let _ = stdout.lock().write_all(text).and_then(|()| io::stdout().flush());
        return;
    }
    let text = String::from_utf8_lossy(text);
    text.lines().for_each(|line| out(&shown(line)));
}

fn completed(complete: &Complete) {
    let seconds = complete.took.as_secs_f64();
    let Offer { names, items, files, folders, bytes, .. } = &complete.offer;
    let name = names.first().map(|name| shown(name)).unwrap_or_default();
    let what = match &complete.paths[..] {
        [] if complete.received => format!("Received {name}"),
        [] if *items > 1 => format!("Sent {name} and {} more", items - 1),
        [] => format!("Sent {name}"),
        [path] => format!("Received {}", shown(&path.to_string_lossy())),
        [first, rest @ ..] => {
            let first = shown(&first.to_string_lossy());
            format!("Received {first} and {} more", rest.len())
        }
    };
    let files = if *folders > 0 { format!("{}, ", count(*files, "file")) } else { String::new() };
    let rate = mean_rate(bytes.saturating_sub(complete.spared), complete.took);
    err(&format!("{what} ({files}{} in {seconds:.1} s{rate})", HumanBytes(*bytes)));
    if complete.spared > 0 {
        err(&format!("  was there already: {}", HumanBytes(complete.spared)));
    }
    if complete.existing > 0 {
        err(&format!("  kept as they were: {}", count(complete.existing, "file")));
    }
    if complete.declined > 0 {
        err(&format!("  not wanted: {}", count(complete.declined, "file")));
    }
    if let Some(digest) = &complete.digest {
        err(&format!("Tree digest: {digest}"));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is shown, not used"
)]
fn rate(progress: &Progress) -> String {
    let rate = HumanBytes(progress.rate as u64);
    match progress.left {
        Some(left) => {
            let left = HumanDuration(Duration::from_secs(left.as_secs() + 1));
            format!("{rate}/s, {left:#} left")
        }
        None => format!("{rate}/s"),
    }
}

/// What the lanes do, for whoever wants to know.
fn figures(lanes: Lanes) -> String {
    let Lanes { count, under_way, window, round, again, repaired, mtu } = lanes;
    let (under_way, window) = (HumanBytes(under_way), HumanBytes(window));
    let milliseconds = round.as_secs_f64() * 1_000.0;
    let again =
        if again > 0 { format!(", over another lane: {again} times") } else { String::new() };
    format!(
        "lanes: {count}, on the way: {under_way} of {window}, round trip: {milliseconds:.1} ms, \
         packets: {mtu} B, sent again: {repaired}{again}"
    )
}

/// The rate of a transfer that took long enough to have one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a rate is shown, not used"
)]
fn mean_rate(bytes: u64, took: Duration) -> String {
    if took < Duration::from_secs(1) {
        return String::new();
    }
    format!(", {}/s", HumanBytes((bytes as f64 / took.as_secs_f64()) as u64))
}

fn transfer_bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {percent:>3} % {binary_bytes} {msg}");
    ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
        .with_style(style.expect("a fixed template that a test draws"))
}

/// A line of a QR code: white on black, whatever the terminal's colours are.
fn lit(line: &str) -> String {
    let has_colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if has_colour { format!("    \x1b[97;40m{line}\x1b[0m") } else { format!("    {line}") }
}

/// A line of data. Whoever reads it may have gone, which is no failure of ours.
fn out(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// A line for the user.
fn err(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_a_person_means() {
        for (line, no_by_default, meant) in [
            ("\n", false, true),
            ("\n", true, false),
            ("y\n", true, true),
            ("Yes\n", false, true),
            ("n\n", false, false),
            ("what?\n", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_yes(line, no_by_default), meant, "{line:?}");
        }
    }

    #[test]
    fn the_bar_can_be_drawn() {
        transfer_bar(10).set_position(5);
    }
}
