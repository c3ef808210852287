//! The command line: what can be said ([`args`], [`config`]) and what is shown ([`ui`]).

pub(crate) mod args;
pub(crate) mod config;
pub(crate) mod json;
mod qr;
pub(crate) mod ui;
