//! The product: the release binary, as its users start it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use p2pshare::proto::Role;
use serde_json::Value;

use super::{
    cargo::build,
    contender::{Ends, Measured, Scene, Variant},
    process::Running,
};

pub(crate) fn run(scene: &Scene<'_>, variant: &Variant) -> Result<Measured, String> {
    let content = scene.content;
    let mut sender = command(scene, Role::Sender);
    sender.arg("send").arg(if variant.one_file { &content.one_file } else { &content.path });
    if let Some(connections) = &variant.connections {
        sender.args(["--connections", connections]);
    }
    if let Some(lanes) = variant.lanes {
        sender.args(["--lanes", lanes]);
    }
    let mut sender = Running::start(sender);
    let (code, at) = sender.wait_for(code)?;
    // The sender's server is named, since how long a search takes is a matter of its own.
    let code = format!("{code}@{at}");
    let mut receiver = command(scene, Role::Receiver);
    receiver.args(["receive", "--yes", "--out"]).arg(scene.target).arg(code);
    let measured = Ends::receiver_joins(sender, receiver).finish(scene)?;
    if measured.finished {
        scene.check();
    }
    Ok(measured)
}

/// Nothing of what its user has set is to count.
fn command(scene: &Scene<'_>, end: Role) -> Command {
    let mut command = scene.place.command(end, binary());
    for variable in ["P2PSHARE_SERVER", "P2PSHARE_LOG", "P2PSHARE_CODE"] {
        command.env_remove(variable);
    }
    command.env("P2PSHARE_CONFIG_DIR", scene.home).env("P2PSHARE_STATE_DIR", scene.home);
    command.arg("--json");
    command
}

fn code(line: &str) -> Option<(String, String)> {
    let event: Value = serde_json::from_str(line).ok()?;
    if event["event"] != "code" {
        return None;
    }
    Some((event["code"].as_str()?.to_owned(), event["at"].as_str()?.to_owned()))
}

/// The binary as `cargo build --release` makes it. That which Cargo has made for this benchmark
/// is built with what tests need, too.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        build(&["--release", "--bin", "p2pshare"]);
        let profile = Path::new(env!("CARGO_BIN_EXE_p2pshare")).parent();
        let target = profile.and_then(Path::parent).expect("Cargo has folders for profiles");
        target.join("release/p2pshare")
    })
}
