//! Other tools, where they are on the path: without the internet, so with servers of their own at
//! the sender, whose processor time is not counted.

use std::{env, net::TcpListener, process::Command};

use p2pshare::proto::Role;

use super::{
    contender::{Ends, Measured, Scene},
    process::Running,
};

/// What both ends of a tool are told where it can be told.
const CODE: &str = "4711-benchmark-of-a-transfer";

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Croc,
    Wormhole,
    Sendme,
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Croc => "croc",
            Self::Wormhole => "magic-wormhole",
            Self::Sendme => "sendme",
        }
    }

    pub(crate) fn missing(self) -> Option<String> {
        let programs: &[_] = match self {
            Self::Croc => &["croc"],
            // The second is the mailbox server's.
            Self::Wormhole => &["wormhole", "twist"],
            Self::Sendme => &["sendme"],
        };
        let missing = programs.iter().find(|program| !on_path(program));
        missing.map(|program| format!("there is no {program} on the path"))
    }

    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<Measured, String> {
        let measured = match self {
            Self::Croc => croc(scene)?,
            Self::Wormhole => wormhole(scene)?,
            Self::Sendme => sendme(scene)?,
        };
        if measured.finished {
            scene.check();
        }
        Ok(measured)
    }
}

fn on_path(program: &str) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).any(|folder| folder.join(program).exists())
}

/// A port that nothing listens at, for those that cannot choose one and say so.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    listener.local_addr().expect("it is bound").port()
}

/// A relay takes one connection for talking and four for bytes.
fn croc(scene: &Scene<'_>) -> Result<Measured, String> {
    let address = scene.place.address(Role::Sender);
    let ports = [(); 5].map(|()| free_port().to_string());
    let relay_at = format!("{address}:{}", ports[0]);
    let mut relay = scene.place.command(Role::Sender, "croc");
    relay.args(["relay", "--host", address, "--ports", &ports.join(",")]);
    let mut relay = Running::start(relay);
    for _ in &ports {
        relay.wait_for(|line| line.contains("starting TCP server").then_some(()))?;
    }
    let croc = |end| {
        let mut croc = scene.place.command(end, "croc");
        croc.env("CROC_SECRET", CODE).env("CROC_CONFIG_DIR", scene.home);
        croc.args(["--relay", &relay_at, "--disable-clipboard"]);
        croc
    };
    let mut sender = croc(Role::Sender);
    sender.args(["--ignore-stdin", "send", "--no-local"]).arg(&scene.content.path);
    let mut sender = Running::start(sender);
    sender.wait_for(|line| line.contains("On the other computer").then_some(()))?;
    let mut receiver = croc(Role::Receiver);
    receiver.args(["--yes", "--out"]).arg(scene.target);
    Ends::receiver_joins(sender, receiver).finish(scene)
}

/// Transit goes straight; the mailbox is at the sender.
fn wormhole(scene: &Scene<'_>) -> Result<Measured, String> {
    let address = scene.place.address(Role::Sender);
    let port = free_port();
    let listen = format!("--port=tcp:{port}:interface={address}");
    let mut mailbox = scene.place.command(Role::Sender, "twist");
    mailbox.args(["wormhole-mailbox", &listen, "--channel-db=:memory:"]);
    let mut mailbox = Running::start(mailbox);
    mailbox.wait_for(|line| line.contains("relay server running").then_some(()))?;
    let url = format!("ws://{address}:{port}/v1");
    let wormhole = |end, arguments: &[&str]| {
        let mut wormhole = scene.place.command(end, "wormhole");
        wormhole.args(["--relay-url", &url, "--transit-helper", ""]).args(arguments);
        wormhole
    };
    let mut sender = wormhole(Role::Sender, &["send", "--hide-progress", "--code", CODE]);
    sender.arg(&scene.content.path);
    let mut sender = Running::start(sender);
    sender.wait_for(|line| line.contains("wormhole receive").then_some(()))?;
    let mut receiver = wormhole(Role::Receiver, &["receive", "--hide-progress", "--accept-file"]);
    receiver.arg(CODE).current_dir(scene.target);
    Ends::receiver_joins(sender, receiver).finish(scene)
}

/// The ticket says where the sender is.
fn sendme(scene: &Scene<'_>) -> Result<Measured, String> {
    let sendme = |end| -> Command { scene.place.command(end, "sendme") };
    let mut sender = sendme(Role::Sender);
    sender.args(["send", "--relay", "disabled", "--ticket-type", "addresses"]);
    sender.arg(&scene.content.path).current_dir(scene.home);
    let mut sender = Running::start(sender);
    let ticket = sender.wait_for(|line| {
        let ticket = line.split("sendme receive ").nth(1)?;
        Some(ticket.trim().to_owned())
    })?;
    let mut receiver = sendme(Role::Receiver);
    receiver.args(["receive", "--relay", "disabled", &ticket]).current_dir(scene.target);
    let mut ends = Ends::receiver_joins(sender, receiver);
    ends.stays = Some(Role::Sender);
    ends.finish(scene)
}
