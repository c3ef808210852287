//! OpenSSH's scp, to an sshd of this benchmark's own with keys that are gone with it.

use std::{fs, path::Path, path::PathBuf, process::Command};

use p2pshare::proto::Role;

use super::{
    contender::{Ends, Measured, Scene},
    others::free_port,
    process::Running,
};

/// Where sshd is when it is not on the path of whoever runs this.
const SSHD: &str = "/usr/sbin/sshd";

/// It locks itself in there, and Debian makes the folder only when it starts the service.
const EMPTY: &str = "/run/sshd";

pub(crate) fn missing() -> Option<String> {
    let programs = [Path::new(SSHD).to_owned(), PathBuf::from("/usr/bin/scp")];
    let missing = programs.iter().find(|program| !program.exists());
    missing.map(|program| format!("there is no {}", program.display()))
}

pub(crate) fn run(scene: &Scene<'_>) -> Result<Measured, String> {
    let [host_key, user_key] = ["host_key", "user_key"].map(|name| key(&scene.home.join(name)));
    // It stays behind, empty, for the next one.
    let _ = fs::create_dir_all(EMPTY);
    let address = scene.place.address(Role::Receiver);
    let port = free_port().to_string();
    let mut sshd = scene.place.command(Role::Receiver, SSHD);
    sshd.args(["-D", "-e", "-f", "/dev/null", "-p", &port]).arg("-h").arg(&host_key);
    let authorized = format!("AuthorizedKeysFile={}", user_key.with_extension("pub").display());
    let listen = format!("ListenAddress={address}");
    let fixed = ["StrictModes=no", "UsePAM=no", "PidFile=none", "Subsystem=sftp internal-sftp"];
    for option in [listen.as_str(), &authorized].into_iter().chain(fixed) {
        sshd.args(["-o", option]);
    }
    let mut sshd = Running::start(sshd);
    sshd.wait_for(|line| line.contains("listening").then_some(()))?;
    let mut scp = scene.place.command(Role::Sender, "scp");
    scp.args(["-q", "-r", "-F", "none", "-P", &port, "-i"]).arg(&user_key);
    for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"] {
        scp.args(["-o", option]);
    }
    scp.arg(&scene.content.path).arg(format!("{address}:{}", scene.target.display()));
    let mut ends = Ends::sender_joins(sshd, scp);
    ends.stays = Some(Role::Receiver);
    let measured = ends.finish(scene)?;
    if measured.finished {
        scene.check();
    }
    Ok(measured)
}

/// Makes a key, once.
fn key(path: &Path) -> PathBuf {
    if !path.exists() {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path);
        assert!(keygen.status().is_ok_and(|status| status.success()), "a key is to be made");
    }
    path.to_owned()
}
