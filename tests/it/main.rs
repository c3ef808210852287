//! The promises, tested with the real binaries in processes of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod any_network;
mod browser;
mod cargo;
mod chromium;
mod codes;
mod conflicts;
mod consent;
mod crashes;
mod failures;
mod folders;
mod foreign_turn;
mod harness;
mod hostile_receiver;
mod hostile_sender;
mod hostile_server;
mod internet;
mod interruptions;
mod lanes;
mod layering;
mod middle;
mod namespace;
mod network;
mod output;
mod page;
mod page_sources;
mod pipes;
mod proxies;
mod quic;
mod reconnect;
mod rogue;
mod scale;
mod secrets;
mod sources;
mod tls;
mod transfer;
