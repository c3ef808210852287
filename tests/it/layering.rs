//! Who may import what: the map in `src/lib.rs`, checked against the sources.
//!
//! This reads text, not syntax: comments are left out, and so are the tests at the end of a file,
//! which may use what they like.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A source file without its comments and tests.
struct Source {
    /// Its path beneath `src`.
    path: String,
    code: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let path = path.strip_prefix(folder()).unwrap().to_str().unwrap().replace('\\', "/");
        Self { path, code: lines.collect::<Vec<_>>().join("\n") }
    }

    /// Whether the file lies in a folder, or is this file.
    fn is_in(&self, place: &str) -> bool {
        self.path == place || self.path.starts_with(&format!("{place}/"))
    }

    /// Whether an identifier occurs.
    fn names(&self, identifier: &str) -> bool {
        self.after(identifier).next().is_some()
    }

    /// What follows each place where an identifier occurs, as a whole word.
    fn after<'a>(&'a self, identifier: &'a str) -> impl Iterator<Item = &'a str> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        self.code.match_indices(identifier).filter_map(move |(at, _)| {
            let (before, rest) = (&self.code[..at], &self.code[at + identifier.len()..]);
            (!before.ends_with(is_part) && !rest.starts_with(is_part)).then_some(rest)
        })
    }

    /// The modules that are named directly beneath a crate, as in `crate::one` and
    /// `crate::{one::.., two}`.
    fn modules_of(&self, root: &str) -> Vec<String> {
        let paths = self.after(root).filter_map(|rest| rest.strip_prefix("::"));
        paths.flat_map(heads).collect()
    }
}

/// The first identifier of a path, or of each path in its braces.
fn heads(path: &str) -> Vec<String> {
    let identifier = |text: &str| {
        let text = text.trim_start();
        text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![identifier(path)] };
    let (mut depth, mut heads, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                heads.push(identifier(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All sources beneath `src`.
fn sources() -> Vec<Source> {
    let (mut found, mut folders) = (Vec::new(), vec![folder()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source::read(&path));
            }
        }
    }
    // Whole files of tests.
    let tests = ["proto/vectors", "proto/simulation.rs"];
    found.retain(|source| !tests.iter().any(|test| source.path.starts_with(test)));
    assert!(found.len() > 30, "the sources are not where they were");
    found
}

/// The sources in some places.
fn sources_in(places: &[&str]) -> Vec<Source> {
    let mut sources = sources();
    sources.retain(|source| places.iter().any(|place| source.is_in(place)));
    assert!(!sources.is_empty(), "{places:?}");
    sources
}

/// Asserts that an identifier occurs nowhere but in some places.
fn nowhere_but_in(identifier: &str, places: &[&str]) {
    for source in sources().iter().filter(|source| source.names(identifier)) {
        let allowed = places.iter().any(|place| source.is_in(place));
        assert!(allowed, "{} names {identifier}", source.path);
    }
}

/// The same, and that it does occur: a name that is gone has no need of a rule.
fn only_in(identifier: &str, places: &[&str]) {
    nowhere_but_in(identifier, places);
    assert!(sources().iter().any(|source| source.names(identifier)), "{identifier} is gone");
}

#[test]
fn layers_import_what_lies_below_them() {
    for (layer, may) in [
        ("session", &["session", "net", "disk", "proto", "error"][..]),
        ("net", &["net", "proto"]),
        ("disk", &["disk", "proto"]),
        ("proto", &["proto"]),
    ] {
        for source in sources_in(&[layer]) {
            for module in source.modules_of("crate") {
                assert!(may.contains(&&*module), "{} imports crate::{module}", source.path);
            }
            // The crate's root, from where everything could be reached.
            let ups = source.modules_of("super::super");
            assert!(ups.is_empty(), "{} imports super::super::{ups:?}", source.path);
            if source.path == format!("{layer}/mod.rs") {
                let ups = source.modules_of("super");
                assert!(ups.is_empty(), "{} imports super::{ups:?}", source.path);
            }
        }
    }
}

#[test]
fn the_command_line_knows_the_library_by_its_root() {
    for source in sources_in(&["main.rs", "cli"]) {
        for name in source.modules_of("p2pshare") {
            assert!(!folder().join(&name).is_dir(), "{} imports p2pshare::{name}", source.path);
            assert_ne!(name, "error", "{}", source.path);
        }
    }
}

#[test]
fn the_server_is_known_by_its_messages_except_where_it_is_embedded() {
    for source in sources() {
        let modules = source.modules_of("p2pshare_signal");
        if source.path == "net/embedded.rs" {
            continue;
        }
        // Both are pure, and say what is on the wire.
        let is_wire = |module: &String| module == "protocol" || module == "framing";
        assert!(modules.iter().all(is_wire), "{}: {modules:?}", source.path);
    }
    only_in("p2pshare_signal", &["net", "session", "error.rs", "main.rs"]);
}

#[test]
fn libraries_of_the_network_are_named_in_net_alone() {
    for library in ["webrtc", "rtc", "quinn", "tokio_tungstenite", "mdns_sd"] {
        only_in(library, &["net"]);
    }
    nowhere_but_in("rustls", &["net"]);
}

#[test]
fn only_the_user_interface_prints() {
    for printing in ["println!", "print!", "eprintln!", "eprint!", "dbg!"] {
        nowhere_but_in(printing, &[]);
    }
    only_in("stdout", &["cli/ui.rs"]);
    // The log goes there, too.
    only_in("stderr", &["cli/ui.rs", "main.rs"]);
    only_in("stdin", &["cli/ui.rs"]);
}

#[test]
fn no_check_of_certificates_is_switched_off() {
    nowhere_but_in("with_disable_certificate_fingerprint_verification", &[]);
    nowhere_but_in("with_allow_insecure_verification_algorithm", &[]);
}

#[test]
fn nothing_is_unsafe() {
    let manifest = |path| fs::read_to_string(folder().join("..").join(path)).unwrap();
    assert!(manifest("Cargo.toml").contains("\nunsafe_code = \"forbid\"\n"));
    for path in ["Cargo.toml", "signal-server/Cargo.toml"] {
        assert!(manifest(path).contains("\n[lints]\nworkspace = true\n"), "{path}");
    }
    for form in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe_code"] {
        nowhere_but_in(form, &[]);
    }
}

#[test]
fn the_protocol_is_pure() {
    let impure = [
        "async",
        "await",
        "tokio",
        "fs",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "Instant",
        "SystemTime",
        "SysRng",
        "OsRng",
        "thread",
        "env",
    ];
    for source in sources_in(&["proto"]) {
        for name in impure {
            assert!(!source.names(name), "{} names {name}", source.path);
        }
    }
}

#[test]
fn the_disk_knows_no_network_and_the_network_no_files() {
    for source in sources_in(&["disk"]) {
        for name in ["TcpStream", "UdpSocket", "SocketAddr"] {
            assert!(!source.names(name), "{} names {name}", source.path);
        }
    }
    for source in sources_in(&["net"]) {
        for name in ["fs", "File", "cap_std"] {
            assert!(!source.names(name), "{} names {name}", source.path);
        }
    }
}

#[test]
fn imports_are_found_in_every_shape() {
    let code =
        "use crate::{\n    disk::{a::B, c},\n    error::Error,\n};\nlet x = crate::net::f();";
    let source = Source { path: "x.rs".to_owned(), code: code.to_owned() };
    assert_eq!(source.modules_of("crate"), ["disk", "error", "net"]);
    assert!(source.names("Error") && !source.names("Err") && !source.names("rror"));
}
