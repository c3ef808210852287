//! p2pshare sends files straight from one machine to another. This page is the map of its code;
//! `PROTOCOL.md` is the specification of what goes over the wire, `README.md` is for users.
//!
//! # Who may use what
//!
//! ```text
//! main, cli  ->  this page's API  ->  session  ->  net    ->  proto, the server's messages
//!                                              ->  disk   ->  proto
//!                                              ->  proto  ->  nothing
//! ```
//!
//! * [`proto`]: the protocol, pure. No sockets, files, clock or async; randomness is an argument.
//! * [`net`]: everything with a socket, and the only place that names the libraries behind them.
//! * [`disk`]: everything with a file. `net` and `disk` do not know of each other.
//! * [`session`]: the glue. One loop each for [`send`] and [`receive`], which decide nothing:
//!   the machines in `proto` do.
//! * [`error`]: every sentence about a failure, what to do about it, and the exit code.
//! * `signal-server/`: the rendezvous server, a package of its own, which the sender embeds.
//!
//! `tests/it/layering.rs` holds the code to this. The API is what this page re-exports; the
//! modules are public for tests, and promise nothing.
//!
//! # A code's journey
//!
//! 1. [`session::meet`] chooses where to meet: the configured server, or one of the sender's own
//!    ([`net::embedded`]) that [`net::discovery`] announces on the LAN, by nameplate only.
//! 2. [`proto::code`] draws a nameplate and words; the user reads them out.
//! 3. Both ends run CPace over them ([`proto::pake`]). The receiver proves first that it derived
//!    the keys ([`proto::pairing`]); a wrong guess is seen by the sender and uses the code up.
//! 4. Descriptions and candidates travel sealed ([`proto::seal`], [`proto::signal`],
//!    [`session::signalling`]); a peer's SDP never reaches a library ([`net::sdp`]).
//! 5. [`session::connect`] opens a PeerConnection ([`net::peer`]) and checks that the certificate
//!    is the one described and that the first frame on each lane proves the keys
//!    ([`proto::binding`]). Only then is a name or a size told.
//!
//! # A byte's journey
//!
//! 1. [`disk::tree`] finds its file, and [`proto::sender`] offers that while the walk goes on.
//! 2. [`proto::receiver`] looks what [`disk::sink`] and [`disk::staging`] have of the file, claims
//!    that by its hashes, and wants the rest: it decides what is sent.
//! 3. [`disk::source`] reads the byte into the tail of a frame, and [`disk::hashing`] hashes it, with
//!    another chunk if there is one, on a thread; [`session::carrier`] sends the frame on one of the
//!    [lanes](net::lane) as far as credit goes, with a number by which [`proto::lanes`] puts it back
//!    into order at the other end.
//! 4. [`session::receive`] hands it to [`proto::receiver`], which checks its place, and on to
//!    [`disk::writer`], which writes and hashes it, on a thread.
//! 5. When every chunk's hash and the file's digest fit ([`proto::digest`]) and the whole item is
//!    here, [`disk::sink`] flushes it and renames it, never over another.
//! 6. The sender hears of it, and only then says that it is done.
//!
//! # What outlives what
//!
//! The machines outlive connections: [`session::reunion`] replaces a lost one, and each end says
//! on the new one where it stands. The [staging folder](disk::staging) and its
//! [journal](disk::journal) outlive the receiver's process; the sender's process needs nothing
//! but its files. `proto/simulation.rs` breaks all of this in every order.
//!
//! # Decisions, and where each is explained
//!
//! | question | answer | where |
//! | --- | --- | --- |
//! | Why does set-up take 20 ms and not 600? | the driver's sleeps are kept short | [`net::sockets`] |
//! | Why are socket buffers and windows what they are? | a window larger than the kernel's buffer loses packets | [`net::sockets`] |
//! | Why are data channels announced in band? | negotiated ones lose early messages | [`net::peer`] |
//! | Why are addresses enumerated here? | a wildcard skips loopback and link-local | [`net::interfaces`] |
//! | How do IPv6 link-local addresses get through the library? | a stand-in socket is exchanged | [`net::zoned`] |
//! | What counts as a wrong guess? | whoever leaves before it has proved to know the words | [`session::meet`] |
//! | How many PAKE runs has a receiver on a LAN? | one an endpoint, three in all | [`session::meet`] |
//! | How large are chunks, what is the digest? | a power of two, an RFC 6962 tree | [`proto::digest`] |
//! | Which names are refused? | those that could escape | [`proto::name`] |
//! | Who decides what is sent? | the receiver, which wants and claims | [`proto::receiver`] |
//! | What is a claim worth? | nothing before the sender has hashed its own chunk | [`proto::sender`] |
//! | How do many small files go fast? | they share frames and flushes, never chunks | [`disk::source`], [`disk::sink`] |
//! | `--overwrite` or `--update`? | the same: what differs is fetched, and replaced when whole | [`proto::receiver::Conflict`] |
//! | Is the other process gone, or the path? | who was seen leaving is gone soon | [`session::reunion`] |
//! | What does a killed receiver need to go on? | its journal: the room and key of the reunion | [`disk::journal`] |
//! | What bounds memory? | credit for data, caps for everything else | [`proto::receiver`], [`proto::wire`] |
//! | What is never overwritten, and how? | anything, by a rename that does not replace | [`disk::sink`], `disk::platform` |
//! | Who waits for whom at the end? | the receiver for the sender's close | [`proto::receiver`] |
//! | What happens when the server goes or tampers? | open lanes do not care | [`session::signalling`] |
//! | How many bytes are on their way? | what the line holds, measured | [`net::flight`] |
//! | How many lanes are there? | one, more on a long line or one that loses packets, and while that is faster | [`session::growth`], [`session::signs`] |
//! | What if the peer's socket overflows, as a browser's of 64 KiB? | each data channel has less under way, and there are more | `session::laden`, [`session::growth`] |
//! | Which kind of lane carries? | TLS over TCP on a short line, or where that is as fast for no more processor time; else QUIC, and data channels until one of them is there | [`session::kinds`] |
//! | How can QUIC use the socket of the `webrtc` crate? | what arrives is sorted by its first byte, what leaves goes by a second handle | [`net::quic`] |
//! | What is QUIC's congestion control? | that of data channels: losses count for nothing, queues stay short | [`net::flight`] |
//! | Who may connect to a listening end? | anybody, and is dropped without the certificate that the peer was told of | [`net::tls`] |
//! | Why does a lane of TLS or QUIC have a certificate of its own? | the `webrtc` crate gives DTLS's key to nobody | [`net::identity`] |
//! | How does a sender know what a connection of TLS or QUIC has delivered? | the receiver says so on it | [`net::stream`] |
//! | What if a lane dies? | what the receiver has not credited goes over another, by number | [`proto::lanes`] |
//! | What if a packet of the DTLS handshake is lost? | its end sends its flight again, and does not hear the peer's twice | `net::repeats` |
//! | What if a data channel waits for SCTP's timer? | what it has no longer counts as on the line, and goes over another | `session::channels` |
//! | What if SCTP's windows keep bytes back, which losses have made small? | on a long line those do not count for the window | `session::channels` |
//! | How large are packets? | 1,280 bytes, or what a lane's first message has proved | `session::lanes` |
//! | What limits a transfer? | what most of a second was spent waiting for | [`session::limits`] |
//! | How many threads are there? | half as many for tasks as processors; files have their own | `main` |
//! | What does a call write? | parts that follow each other, 240 KiB and more | `disk::gather` |
//! | Where is a long file's space? | reserved ahead of what is written, as far as its size goes | [`disk::sink`] |
//! | Whose memory does a message have? | that of an earlier one which nobody has any more | `disk::draft`, [`net::stream`] |
//! | How long are messages? | full packets for a millisecond of the line, and no more than the system takes at once | [`net::packet`] |
//! | What is measured without files? | a stream of noise that nobody keeps | [`session::bench`] |
//! | What is each failure called? | one table | [`error`] |
//!
//! # Round trips
//!
//! From the receiver's Enter to the first byte of a file, with a server one round trip S away
//! and a peer one round trip P away: TCP (S), TLS (S, with `wss://`), WebSocket (S), claim (S),
//! then reply to confirmation with the sender's description (S, through the server), answer to ICE
//! (half an S and P), DTLS (3 P, one of them for a cookie that the library always asks for), SCTP (2 P),
//! channel and binding (P), offer and wishes (P).
//! However many files follow, none of them costs another.
//!
//! On a long line a lane of QUIC, whose certificates the descriptions tell, is opened beside SCTP (QUIC,
//! binding: 2 P), so that it carries from the first byte on. Other lanes of TLS and QUIC are asked for
//! with the offer on a long line, and on a short one as soon as more is ready than leaves at once. One
//! of TLS carries after 4 P: listeners, TCP, TLS, binding; one of QUIC after 3: certificates, QUIC,
//! binding.
//!
//! Through a relay P is the way by the server and back. Relays are asked from the claim on: TCP
//! and TLS (2 S), challenge and allocation (2 S), during which the pairing goes on; the relayed
//! address reaches the peer half an S later, and the permission is there by then. A relayed path
//! is taken 100 ms after ICE has begun, so that a straight one is taken when it answers by then.

pub mod disk;
pub mod error;
pub mod net;
pub mod proto;
pub mod session;

pub use disk::{
    source::digest,
    staging::{Left, discard, left},
    tree::Selection,
};
pub use error::{Error, Told};
pub use net::{
    dial::{Authorities, Dialer, ProxyUrl},
    ice::IceUrl,
    network::{Kinds, Network, Transport},
    peer::Path,
    rendezvous::ServerUrl,
};
pub use proto::{
    code::{Code, Invitation},
    limit::{Limit, What as LimitedBy},
    name::{Name, RelPath, shown},
    receiver::Conflict,
};
pub use session::{
    bench::{self, Stage},
    carrier::Wishes,
    doctor::{Finding, Verdict, doctor},
    event::{Answer, Complete, Event, Front, Interrupt, Link, Question, Shown},
    growth::Connections,
    meet::Wish,
    progress::{Lanes, Over, Progress},
    receive::{Consent, Out, ReceiveOptions, receive},
    send::{SendOptions, What, send},
    summary::{Offer, Sample},
};
