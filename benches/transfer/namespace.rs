//! Network namespaces of Linux, each a machine of its own as far as addresses go. Needs root and
//! iproute2.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long devices may take to be of use, and how often it is looked.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// A namespace; it is gone, with its devices, when it is dropped.
pub(crate) struct Namespace(String);

impl Namespace {
    /// One with loopback alone.
    ///
    /// # Errors
    /// What `ip` says where namespaces cannot be made.
    pub(crate) fn new() -> Result<Self, String> {
        let name = unused_name();
        ip(&["netns", "add", &name])?;
        let namespace = Self(name);
        on(&namespace, &["link", "set", "lo", "up"]);
        Ok(namespace)
    }

    /// A program that is to run in it, with no more to say about the network than an ordinary
    /// user's has.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]);
        command.args(["setpriv", "--bounding-set", "-net_admin", program]);
        command
    }

    /// Takes a device out of the namespace of this process.
    pub(crate) fn take(&self, device: &str) {
        must(&["link", "set", device, "netns", &self.0]);
    }

    /// Waits until its devices are up and its addresses can be used, which takes IPv6 a second.
    pub(crate) fn wait_until_usable(&self) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let addresses = must(&["-n", &self.0, "addr", "show"]);
            if !["tentative", "NO-CARRIER", "state DOWN"].iter().any(|not| addresses.contains(not))
            {
                return;
            }
            thread::sleep(LOOK);
        }
    }

    /// Joins two by a cable, whose ends have an address each.
    pub(crate) fn join(ends: [(&Self, &str); 2]) {
        let [(first, _), (second, _)] = ends;
        let peer = ["peer", "name", "eth0", "netns", &second.0];
        on(first, &[&["link", "add", "eth0", "type", "veth"][..], &peer].concat());
        for (namespace, address) in ends {
            on(namespace, &["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
            on(namespace, &["link", "set", "eth0", "up"]);
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(why) = ip(&["netns", "delete", &self.0]) {
            super::note(&format!("namespace {} is left behind: {why}", self.0));
        }
    }
}

/// Has `ip` do something in a namespace.
pub(crate) fn on(namespace: &Namespace, arguments: &[&str]) {
    must(&[&["-n", &namespace.0][..], arguments].concat());
}

/// A name for a namespace or device that nothing else has; 15 characters are what a device's may
/// have.
pub(crate) fn unused_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("p2b{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn must(arguments: &[&str]) -> String {
    ip(arguments).unwrap_or_else(|why| panic!("ip {}: {why}", arguments.join(" ")))
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
