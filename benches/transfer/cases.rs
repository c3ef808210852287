//! What is measured where: the table of cases.

use std::time::Duration;

use super::{
    channel::Packets,
    contender::{Contender, Variant},
    line::Shape,
    others::Tool,
    place::Kind,
    tcp::Target,
};

const MIB: u64 = 1024 * 1024;

/// The largest socket buffers that Linux grants by default, and those that the product asks for.
const DEFAULT_BUFFERS: u32 = 208 * 1024;
const WANTED_BUFFERS: u32 = 4 * 1024 * 1024;

/// A case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// How it is called on the command line and in the table.
    pub(crate) name: String,
    pub(crate) place: Kind,
    /// So many files of so many bytes.
    pub(crate) files: u64,
    pub(crate) size: u64,
    /// The first is what the others are compared with.
    pub(crate) contenders: Vec<Contender>,
}

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let near = near();
    let mut cases = vec![
        case("loopback", Kind::Loopback, 1024 * MIB, near.clone()),
        case("lan", Kind::Lan, 1024 * MIB, near),
        case("buffers-loopback", Kind::Loopback, 1024 * MIB, buffers()),
        case("buffers-lan", Kind::Lan, 1024 * MIB, buffers()),
        case("home", line(20, 100, 256, 0.0), 64 * MIB, far()),
        case("fast", line(20, 1000, 2048, 0.0), 512 * MIB, far()),
        case("long", line(100, 100, 1280, 0.0), 128 * MIB, far()),
        case("loss-0.1", line(50, 100, 640, 0.001), 64 * MIB, far()),
        case("loss-1", line(50, 100, 640, 0.01), 64 * MIB, far()),
        Case { files: 10_000, ..case("many", Kind::Lan, 4096, many()) },
    ];
    cases.extend(grid());
    cases
}

/// Those that need no root and little time.
pub(crate) fn quick() -> Vec<Case> {
    let contenders = vec![
        product(),
        data_channels(),
        Contender::Channel(Packets::Safe),
        Contender::Tcp(Target::Memory),
        Contender::Tcp(Target::File),
    ];
    let lan = vec![product(), Contender::Tcp(Target::File)];
    vec![
        case("loopback", Kind::Loopback, 64 * MIB, contenders),
        case("lan", Kind::Lan, 64 * MIB, lan.clone()),
        case("home", line(20, 100, 256, 0.0), 8 * MIB, lan.clone()),
        Case { files: 200, ..case("many", Kind::Loopback, 4096, vec![product()]) },
    ]
}

fn case(name: &str, place: Kind, size: u64, contenders: Vec<Contender>) -> Case {
    Case { name: name.to_owned(), place, files: 1, size, contenders }
}

fn line(milliseconds: u64, megabits: u64, queue_kib: u64, loss: f64) -> Kind {
    Kind::Line(Shape {
        round_trip: Duration::from_millis(milliseconds),
        rate: megabits * 1_000_000,
        queue: queue_kib * 1024,
        loss,
    })
}

fn product() -> Contender {
    Contender::P2pshare(Variant::default())
}

/// The product with a number of data channels, and nothing else.
pub(crate) fn connections(number: &str) -> Contender {
    Contender::P2pshare(Variant {
        name: Some(format!("--connections {number}")),
        connections: Some(number.to_owned()),
        lanes: DATA_CHANNELS,
        ..Variant::default()
    })
}

const DATA_CHANNELS: Option<&str> = Some("data-channel");

/// The product as it is with a browser.
fn data_channels() -> Contender {
    only("data channels", DATA_CHANNELS)
}

fn quic() -> Contender {
    only("QUIC", Some("quic"))
}

/// The product with lanes of one kind.
fn only(name: &str, lanes: Option<&'static str>) -> Contender {
    Contender::P2pshare(Variant { name: Some(name.to_owned()), lanes, ..Variant::default() })
}

fn tools() -> [Contender; 4] {
    let [croc, wormhole, sendme] = [Tool::Croc, Tool::Wormhole, Tool::Sendme].map(Contender::Other);
    [Contender::Scp, croc, wormhole, sendme]
}

fn near() -> Vec<Contender> {
    let bare = [Packets::Safe, Packets::Path].map(Contender::Channel);
    let tcp = [Target::Memory, Target::File].map(Contender::Tcp);
    [product(), quic(), data_channels()].into_iter().chain(bare).chain(tcp).chain(tools()).collect()
}

fn far() -> Vec<Contender> {
    [product(), quic(), data_channels(), Contender::Tcp(Target::File)]
        .into_iter()
        .chain(tools())
        .collect()
}

fn buffers() -> Vec<Contender> {
    let with = |name: &str, bytes| {
        Contender::P2pshare(Variant {
            name: Some(format!("{name} buffers")),
            lanes: DATA_CHANNELS,
            buffers: Some(bytes),
            ..Variant::default()
        })
    };
    vec![with("208 KiB", DEFAULT_BUFFERS), with("4 MiB", WANTED_BUFFERS)]
}

fn many() -> Vec<Contender> {
    let name = Some("one file of that size".to_owned());
    let one_file = Contender::P2pshare(Variant { name, one_file: true, ..Variant::default() });
    [product(), one_file].into_iter().chain(tools()).collect()
}

/// The automatic number of connections against fixed ones, on lines whose queues hold what the
/// line does, or 64 KiB.
fn grid() -> Vec<Case> {
    let profiles =
        [1, 20, 100].into_iter().flat_map(|time| [0.0, 0.1, 1.0].map(|loss| (time, loss)));
    let case = |(time, loss): (u64, f64)| {
        let queue = (100 * 1000 * time / 8 / 1024).max(64);
        let contenders = ["1", "4", "16"].map(connections);
        let contenders = [data_channels()].into_iter().chain(contenders).collect();
        let place = line(time, 100, queue, loss / 100.0);
        case(&format!("grid-{time}-{loss}"), place, 64 * MIB, contenders)
    };
    profiles.map(case).collect()
}
