//! Measures whole transfers: the release binary and others, between processes that talk over
//! loopback, over a cable between two namespaces, or over an emulated line.
//!
//! `docs/performance.md` says how to run it and what it has found.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table is what it is for")]
#![expect(clippy::cast_precision_loss, reason = "figures of three digits are told")]

mod arguments;
mod campaign;
#[path = "../../tests/it/cargo.rs"]
mod cargo;
mod cases;
mod channel;
mod check;
mod contender;
mod line;
mod namespace;
mod others;
mod p2pshare;
mod place;
mod process;
mod scp;
mod table;
mod tcp;

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use arguments::{Arguments, Part};
use channel::Packets;
use clap::Parser;
use place::Settings;
use table::{Form, Row};
use tokio::runtime::{Builder, Runtime};

/// As in the product, which the bare data channel is compared with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whether Ctrl-C was pressed.
static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> io::Result<()> {
    let mut arguments = Arguments::parse();
    if let Some(part) = arguments.part.take() {
        return play(part);
    }
    let cases = campaign::wanted(&arguments);
    if arguments.list {
        cases.iter().for_each(|case| println!("{case}"));
        return Ok(());
    }
    thread::spawn(listen_for_stop);
    if arguments.check {
        check::check(&cases);
        return Ok(());
    }
    let _usual = Settings::usual_tcp()
        .map_err(|why| note(&format!("TCP is as it is on this system: {why}")));
    let runs = if arguments.quick { 1 } else { arguments.runs };
    let patience = Duration::from_secs(arguments.patience);
    let rows: Vec<Row> =
        cases.iter().flat_map(|case| campaign::run(case, runs, patience)).collect();
    let form = if arguments.markdown { Form::Markdown } else { Form::Plain };
    print!("{}", table::table(&rows, form));
    Ok(())
}

/// The part of a child of this program.
fn play(part: Part) -> io::Result<()> {
    match part {
        Part::TcpReceive { listen, file } => tcp::receive(listen, file.as_deref())?,
        Part::TcpSend { to, bytes } => tcp::send(to, bytes)?,
        Part::ChannelReceive { listen, bytes } => {
            runtime()?.block_on(channel::receive(listen, bytes));
        }
        Part::ChannelSend { to, bytes, path } => {
            let packets = if path { Packets::Path } else { Packets::Safe };
            runtime()?.block_on(channel::send(to, bytes, packets));
        }
        Part::Answer { listen } => check::answer(listen)?,
        Part::Probe { to, rate } => check::probe(to, rate)?,
    }
    Ok(())
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// Ctrl-C ends the run in progress, and what it has made goes with it.
fn listen_for_stop() {
    let runtime = Builder::new_current_thread().enable_all().build();
    let stopped = runtime.and_then(|runtime| runtime.block_on(tokio::signal::ctrl_c()));
    STOP.store(stopped.is_ok(), Ordering::Relaxed);
}

/// # Panics
/// When Ctrl-C was pressed: namespaces and processes are gone when the stack is.
fn stop_if_told() {
    assert!(!STOP.load(Ordering::Relaxed), "interrupted");
}

/// Says something that is not part of the table.
fn note(text: &str) {
    eprintln!("{text}");
}
