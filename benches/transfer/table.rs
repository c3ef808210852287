//! What was measured, as one table.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use serde_json::Value;

use super::{
    cases::Case,
    contender::{Contender, Measured},
    place::Kind,
};

/// The share of a line that is waited for.
const SHARE: f64 = 0.85;

/// Over so long a rate is measured for that, and after so long for the other figure.
const WINDOW: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(5);

const HEAD: [&str; 9] = [
    "case",
    "contender",
    "MB/s (least to most)",
    "first is",
    "CPU s/GB sender",
    "receiver",
    "MiB sender",
    "receiver",
    "85 % after, MB/s from 5 s on",
];

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Plain,
    /// For a document.
    Markdown,
}

/// A contender in a case.
#[derive(Debug)]
pub(crate) struct Row {
    case: Case,
    pub(crate) contender: Contender,
    runs: Vec<Run>,
}

/// What a run comes to.
#[derive(Debug)]
struct Run {
    /// MB/s.
    rate: f64,
    finished: bool,
    /// Seconds of processor time for 10^9 bytes, of each end.
    cpu: [f64; 2],
    /// The most memory, in MiB, of each end.
    peak: [f64; 2],
    /// Seconds until the line was used well.
    until_fast: Option<f64>,
    /// MB/s after the first seconds.
    later: Option<f64>,
}

impl Row {
    pub(crate) fn new(case: &Case, contender: &Contender) -> Self {
        Self { case: case.clone(), contender: contender.clone(), runs: Vec::new() }
    }

    /// Takes a run.
    pub(crate) fn add(&mut self, measured: &Measured) {
        let bytes = (self.case.files * self.case.size) as f64;
        let progress = progress(measured);
        let line = match self.case.place {
            Kind::Line(shape) => Some(shape.bytes_per_second()),
            Kind::Loopback | Kind::Lan => None,
        };
        self.runs.push(Run {
            rate: bytes / measured.time.as_secs_f64() / 1e6,
            finished: measured.finished,
            cpu: measured.used.map(|used| used.time.as_secs_f64() / bytes * 1e9),
            peak: measured.used.map(|used| used.peak as f64 / 1024.0 / 1024.0),
            until_fast: line.and_then(|line| until_fast(&progress, line * SHARE)),
            later: line.and_then(|_| later(&progress)),
        });
    }

    /// Tells of the run that was taken last.
    pub(crate) fn last(&self) -> String {
        let rate = self.runs.last().map_or(0.0, |run| run.rate);
        format!("{} {rate:.1} MB/s", self.contender)
    }

    fn cells(&self, first: &Self) -> [String; HEAD.len()] {
        let figures = |of: fn(&Run) -> f64| self.runs.iter().map(of).collect::<Vec<_>>();
        let rates = figures(|run| run.rate);
        let below = if self.runs.iter().all(|run| run.finished) { "" } else { "< " };
        let (least, most) = (extreme(&rates, f64::min), extreme(&rates, f64::max));
        let rate = format!("{below}{:.1} ({least:.1} to {most:.1})", median(rates));
        let both = self.runs.iter().zip(&first.runs);
        let ratios = both.map(|(run, first)| first.rate / run.rate).collect();
        let is_first = self.contender == first.contender;
        let ratio = if is_first { String::new() } else { format!("{:.2} x", median(ratios)) };
        [
            self.case.name.clone(),
            self.contender.to_string(),
            rate,
            ratio,
            format!("{:.2}", median(figures(|run| run.cpu[0]))),
            format!("{:.2}", median(figures(|run| run.cpu[1]))),
            format!("{:.0}", extreme(&figures(|run| run.peak[0]), f64::max)),
            format!("{:.0}", extreme(&figures(|run| run.peak[1]), f64::max)),
            self.over_time(),
        ]
    }

    fn over_time(&self) -> String {
        let fast: Vec<_> = self.runs.iter().filter_map(|run| run.until_fast).collect();
        let later: Vec<_> = self.runs.iter().filter_map(|run| run.later).collect();
        let mut cell = String::new();
        if !fast.is_empty() {
            cell = format!("{:.1} s", median(fast));
        }
        if !later.is_empty() {
            cell = format!("{cell}, {:.1}", median(later));
        }
        cell
    }
}

/// What the receiver said of its progress, with the times since the start.
fn progress(measured: &Measured) -> Vec<(Duration, u64)> {
    let point = |line: &super::process::Line| {
        let event: Value = serde_json::from_str(&line.text).ok()?;
        let is_progress = event["event"] == "progress";
        let bytes = event["bytes"].as_u64().filter(|_| is_progress)?;
        Some((line.at.saturating_duration_since(measured.started), bytes))
    };
    measured.said.iter().filter_map(point).collect()
}

/// When so many bytes a second were reached over a second.
fn until_fast(progress: &[(Duration, u64)], rate: f64) -> Option<f64> {
    let is_fast = |(at, bytes): &&(Duration, u64)| {
        let before = progress.iter().rev().find(|(before, _)| *before + WINDOW <= *at);
        before.is_some_and(|(before, earlier)| {
            bytes.saturating_sub(*earlier) as f64 / at.saturating_sub(*before).as_secs_f64() >= rate
        })
    };
    progress.iter().find(is_fast).map(|(at, _)| at.as_secs_f64())
}

/// MB/s after the first seconds, to the end.
fn later(progress: &[(Duration, u64)]) -> Option<f64> {
    let (start, before) = progress.iter().find(|(at, _)| *at >= LATER)?;
    let (end, total) = progress
        .iter()
        .find(|(_, bytes)| *bytes == progress.last().map_or(0, |(_, last)| *last))?;
    let time = end.checked_sub(*start).filter(|time| *time >= WINDOW)?;
    Some((total - before) as f64 / time.as_secs_f64() / 1e6)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}

fn extreme(figures: &[f64], choose: fn(f64, f64) -> f64) -> f64 {
    figures.iter().copied().reduce(choose).unwrap_or(f64::NAN)
}

/// The table; in each case the first contender is compared with the others.
pub(crate) fn table(rows: &[Row], form: Form) -> String {
    let cells = rows.iter().map(|row| {
        let first = rows.iter().find(|first| first.case.name == row.case.name);
        row.cells(first.unwrap_or(row))
    });
    let lines: Vec<_> = [HEAD.map(str::to_owned)].into_iter().chain(cells).collect();
    let widths: [usize; HEAD.len()] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let padded: Vec<_> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let written = match form {
            Form::Plain => writeln!(text, "{}", padded.join("  ").trim_end()),
            Form::Markdown if number == 0 => {
                writeln!(text, "| {} |\n|{}", padded.join(" | "), " --- |".repeat(HEAD.len()))
            }
            Form::Markdown => writeln!(text, "| {} |", padded.join(" | ")),
        };
        written.expect("a text takes all that is written");
    }
    text
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, place, files, size, contenders } = self;
        let contenders: Vec<_> = contenders.iter().map(ToString::to_string).collect();
        let contenders = contenders.join("; ");
        write!(f, "{name}: {place}; {files} x {} KiB: {contenders}", size / 1024)
    }
}
