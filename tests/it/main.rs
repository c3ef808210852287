//! The promises, tested with the real binaries in processes of their own.

mod harness;
mod transfer;
