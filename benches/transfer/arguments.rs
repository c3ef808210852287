//! The command line: what people say, and hidden, what this program says to children of itself.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};

/// Whole transfers: MB/s from Enter to the end, processor time and memory of each end, beside what
/// TCP, a bare data channel and other tools do in the same place. Medians of alternating runs.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(name = "cargo bench --bench transfer --")]
pub(crate) struct Arguments {
    /// Runs of each contender.
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: u64,

    /// Only cases whose names begin like this.
    #[arg(long, value_name = "CASE")]
    pub(crate) only: Vec<String>,

    /// Only contenders whose names begin like this, and the first of each case.
    #[arg(long, value_name = "NAME")]
    pub(crate) against: Vec<String>,

    /// The size of files, in MiB, instead of each case's own.
    #[arg(long, value_name = "MIB")]
    pub(crate) size: Option<u64>,

    /// Adds p2pshare with this number of data channels to each case.
    #[arg(long, value_name = "N")]
    pub(crate) connections: Vec<String>,

    /// A run that takes longer is broken off; it counts as if it had ended then.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) patience: u64,

    /// Prints the table for a document.
    #[arg(long)]
    pub(crate) markdown: bool,

    /// Lists the cases and contenders.
    #[arg(long)]
    pub(crate) list: bool,

    /// One short run of a few cases, to see that everything works.
    #[arg(long)]
    pub(crate) quick: bool,

    /// Measures the emulated lines themselves.
    #[arg(long)]
    pub(crate) check: bool,

    /// What Cargo says to every benchmark.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,

    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

/// What a child of this program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Receives over TCP.
    #[command(hide = true)]
    TcpReceive { listen: SocketAddr, file: Option<PathBuf> },
    /// Sends over TCP.
    #[command(hide = true)]
    TcpSend { to: SocketAddr, bytes: u64 },
    /// Receives over a bare data channel.
    #[command(hide = true)]
    ChannelReceive { listen: SocketAddr, bytes: u64 },
    /// Sends over a bare data channel.
    #[command(hide = true)]
    ChannelSend {
        to: SocketAddr,
        bytes: u64,
        #[arg(long)]
        path: bool,
    },
    /// Answers and counts datagrams.
    #[command(hide = true)]
    Answer { listen: SocketAddr },
    /// Measures a line, whose rate in bits a second is this, by datagrams.
    #[command(hide = true)]
    Probe { to: SocketAddr, rate: u64 },
}
