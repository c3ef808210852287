//! A browser speaks to our end of a connection: the wire suits a page before there is one.
//!
//! Chromium runs headless under `tests/web/browser.js`.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;
use p2pshare::{
    Network, Path as Route,
    net::{
        lane::{LaneEvent, LaneReceiver, LaneSender},
        packet::SAFE_MTU,
        peer::{CONTROL, Channel, DATA, Peer, PeerEvent},
        sdp,
    },
    proto::{
        binding::Hello,
        frame::{Frame, MAX_FRAME},
        signal::{Candidate, CandidateHost, CandidateKind, Description},
    },
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::{
    chromium::{Script, say},
    harness::PATIENCE,
};

/// Messages in each direction while both directions are in use.
const EXCHANGED: u32 = 64;

/// Messages in one direction at a time: 64 MiB.
const STREAMED: u32 = 1024;

/// Bytes that our end has under way at once.
const IN_FLIGHT: usize = 128 * 1024;

/// Seeds of what each end sends.
const OURS: u32 = 1;
const THEIRS: u32 = 2;

/// A page otherwise hides its machine's addresses behind names that multicast DNS resolves.
const SHOW_ADDRESSES: &str = "--disable-features=WebRtcHideLocalIpsWithMdns";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_hides_its_addresses_answers_our_offer() {
    let Some(browser) = Browser::start(&[]) else { return };
    let met = offer_to(browser).await;
    assert!(met.hidden(), "{:?}", met.candidates);
    met.talk().await.stream().await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_answer_a_browser_that_hides_its_addresses() {
    let Some(browser) = Browser::start(&[]) else { return };
    let met = answer_to(browser).await;
    assert!(met.hidden(), "{:?}", met.candidates);
    met.talk().await.stream().await.wait_for_close().await;
}

/// A page that may use the camera shows its addresses, and so do other browsers.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_shows_its_addresses_answers_our_offer() {
    let Some(browser) = Browser::start(&[SHOW_ADDRESSES]) else { return };
    let met = offer_to(browser).await;
    assert!(!met.hidden(), "{:?}", met.candidates);
    met.talk().await.wait_for_close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_answer_a_browser_that_shows_its_addresses() {
    let Some(browser) = Browser::start(&[SHOW_ADDRESSES]) else { return };
    let met = answer_to(browser).await;
    assert!(!met.hidden(), "{:?}", met.candidates);
    met.talk().await.close().await;
}

const LABELS: [&str; 2] = [CONTROL, DATA];

async fn offer_to(mut browser: Browser) -> Met {
    let start = Instant::now();
    let (peer, channels, ours) =
        Box::pin(Peer::offer(Network::default().prepare(&[]), LABELS, SAFE_MTU)).await.unwrap();
    let theirs = described(&browser.call("answer", json!(sdp::render(&ours))));
    peer.accept(&theirs).await.unwrap();
    Met::new("our offer", start, browser, peer, channels, ours, theirs).await
}

async fn answer_to(mut browser: Browser) -> Met {
    let start = Instant::now();
    let theirs = described(&browser.call("offer", Value::Null));
    let (peer, channels, ours) =
        Box::pin(Peer::answer(Network::default().prepare(&[]), LABELS, &theirs)).await.unwrap();
    browser.call("accept", json!(sdp::render(&ours)));
    Met::new("its offer", start, browser, peer, channels, ours, theirs).await
}

fn described(sdp: &Value) -> Description {
    sdp::parse(sdp.as_str().unwrap()).unwrap()
}

/// Our end and a browser, with open lanes between them.
struct Met {
    what: &'static str,
    browser: Browser,
    peer: Peer,
    lanes: [(LaneSender, LaneReceiver); 2],
    /// The browser's.
    candidates: Vec<Candidate>,
}

impl Met {
    async fn new(
        what: &'static str,
        start: Instant,
        mut browser: Browser,
        mut peer: Peer,
        channels: [Channel; 2],
        ours: Description,
        theirs: Description,
    ) -> Self {
        // The browser's first: it would reach us before we know its address.
        let candidates = browser.candidates();
        for candidate in &candidates {
            peer.add_candidate(candidate).await;
        }
        for candidate in gathered(&mut peer).await {
            browser.call("addCandidate", json!(sdp::render_candidate(&candidate)));
        }
        let mut lanes = channels;
        for (_, receiver) in &mut lanes {
            assert!(matches!(next(receiver).await, LaneEvent::Open));
        }
        let seen = browser.call("opened", Value::Null);
        let took = start.elapsed();
        peer.opened();
        assert_eq!(peer.fingerprint().await.unwrap(), theirs.fingerprint);
        assert_eq!(certificate(&seen), ours.fingerprint);
        assert!(usize::try_from(theirs.max_message_size).unwrap() >= MAX_FRAME);
        assert!(seen["maxMessageSize"].as_u64().unwrap() >= MAX_FRAME as u64);
        assert_eq!(peer.path().await, Route::Lan);
        say(&format!(
            "{what}: open after {took:.0?}; the browser sees {} to {}, takes messages of {} bytes \
             and may send {}",
            seen["local"], seen["remote"], theirs.max_message_size, seen["maxMessageSize"]
        ));
        Self { what, browser, peer, lanes, candidates }
    }

    /// Whether the browser names its machine by names only.
    fn hidden(&self) -> bool {
        assert!(!self.candidates.is_empty(), "the browser found no address");
        self.candidates.iter().all(|candidate| matches!(candidate.host, CandidateHost::Mdns(_)))
    }

    async fn talk(mut self) -> Self {
        for lane in 0..2 {
            self.greet(lane).await;
            self.exchange(lane).await;
        }
        self
    }

    /// How fast it goes, one direction at a time; for whoever reads it.
    async fn stream(mut self) -> Self {
        let out = self.stream_out().await;
        let back = self.stream_back().await;
        say(&format!("{}: {out:.0} MB/s to the browser, {back:.0} MB/s back", self.what));
        self
    }

    /// The first frame of a lane arrives as it was, from each end.
    async fn greet(&mut self, lane: u32) {
        let frame = |nonce| {
            let hello = Hello { lane, generation: 0, nonce, tag: [0xfe; 32], verify: false };
            Frame::Hello(hello).to_wire()
        };
        let (sender, receiver) = &mut self.lanes[lane as usize];
        let (ours, theirs) = (frame([1; 16]), frame([2; 16]));
        sender.send(BytesMut::from(ours.as_slice())).await.unwrap();
        assert_eq!(self.browser.call("takeFrame", json!(lane)), HEXLOWER.encode(&ours));
        self.browser.call("putFrame", json!({ "lane": lane, "frame": HEXLOWER.encode(&theirs) }));
        assert_eq!(message(receiver).await, theirs);
    }

    /// Messages in both directions at the same time.
    async fn exchange(&mut self, lane: u32) {
        self.browser.begin(
            "exchange",
            json!({ "lane": lane, "send": THEIRS, "receive": OURS, "count": EXCHANGED }),
        );
        let (sender, receiver) = &mut self.lanes[lane as usize];
        tokio::join!(send(sender, EXCHANGED), receive(receiver, EXCHANGED));
        self.browser.answer();
    }

    async fn stream_out(&mut self) -> f64 {
        let start = Instant::now();
        self.browser.begin("receive", json!({ "lane": 1, "stream": OURS, "count": STREAMED }));
        send(&self.lanes[1].0, STREAMED).await;
        self.browser.answer();
        rate(start)
    }

    async fn stream_back(&mut self) -> f64 {
        let start = Instant::now();
        self.browser.begin("send", json!({ "lane": 1, "stream": THEIRS, "count": STREAMED }));
        receive(&mut self.lanes[1].1, STREAMED).await;
        self.browser.answer();
        rate(start)
    }

    /// Our end closes, and the browser hears of it.
    async fn close(mut self) {
        let start = Instant::now();
        self.browser.begin("closed", Value::Null);
        self.peer.close().await;
        self.browser.answer();
        say(&format!("{}: it heard of our close after {:.0?}", self.what, start.elapsed()));
    }

    /// The browser closes, and our end hears of it.
    async fn wait_for_close(mut self) {
        let start = Instant::now();
        self.browser.call("close", Value::Null);
        for (_, receiver) in &mut self.lanes {
            assert!(matches!(next(receiver).await, LaneEvent::Closed));
        }
        say(&format!("{}: we heard of its close after {:.0?}", self.what, start.elapsed()));
        self.peer.close().await;
    }
}

async fn gathered(peer: &mut Peer) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    loop {
        match timeout(PATIENCE, peer.next()).await.unwrap() {
            PeerEvent::Candidate(candidate) => candidates.push(candidate),
            PeerEvent::Gathered { .. } => return candidates,
            PeerEvent::Connected => {}
            PeerEvent::Lost => panic!("the path is lost"),
        }
    }
}

/// SHA-256 of the certificate that the browser was shown.
fn certificate(seen: &Value) -> [u8; 32] {
    let certificate = HEXLOWER.decode(seen["certificate"].as_str().unwrap().as_bytes()).unwrap();
    Sha256::digest(certificate).into()
}

async fn next(receiver: &mut LaneReceiver) -> LaneEvent {
    timeout(PATIENCE, receiver.next()).await.expect("something happens on the lane")
}

async fn message(receiver: &mut LaneReceiver) -> Bytes {
    match next(receiver).await {
        LaneEvent::Message(message) => message,
        other => panic!("no message but {other:?}"),
    }
}

/// Keeps at most [`IN_FLIGHT`] bytes under way: on a busy machine the browser's socket drops what
/// comes in larger bursts, and SCTP then recovers by one packet a round.
async fn send(sender: &LaneSender, count: u32) {
    for index in 0..count {
        while sender.outstanding().await.unwrap() > IN_FLIGHT {
            tokio::task::yield_now().await;
        }
        let message = BytesMut::from(content(OURS, index).as_slice());
        timeout(PATIENCE, sender.send(message)).await.expect("the browser takes it").unwrap();
    }
}

async fn receive(receiver: &mut LaneReceiver, count: u32) {
    for index in 0..count {
        assert!(message(receiver).await == content(THEIRS, index), "message {index} differs");
    }
}

/// The longest message, without repetition in it or among others: xorshift32, the same in page.js.
fn content(stream: u32, index: u32) -> Vec<u8> {
    let mut x = (stream.wrapping_mul(0x9e37_79b1) ^ index.wrapping_mul(0x85eb_ca77)) | 1;
    let mut bytes = Vec::with_capacity(MAX_FRAME);
    while bytes.len() < MAX_FRAME {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        bytes.extend_from_slice(&x.to_le_bytes());
    }
    bytes
}

/// MB/s of what is streamed.
fn rate(start: Instant) -> f64 {
    f64::from(STREAMED) * 65_536e-6 / start.elapsed().as_secs_f64()
}

/// A candidate line of a browser (RFC 8839, section 5.1); `None` for one that is not UDP.
fn parse_candidate(line: &str) -> Option<Candidate> {
    let words: Vec<_> = line.strip_prefix("candidate:").expect(line).split(' ').collect();
    let [foundation, "1", transport, priority, host, port, "typ", kind, ..] = words[..] else {
        panic!("not a candidate: {line}");
    };
    let kind = match kind {
        "host" => CandidateKind::Host,
        "srflx" => CandidateKind::ServerReflexive,
        "prflx" => CandidateKind::PeerReflexive,
        "relay" => CandidateKind::Relay,
        _ => panic!("a candidate of no kind: {line}"),
    };
    transport.eq_ignore_ascii_case("udp").then(|| Candidate {
        foundation: foundation.try_into().unwrap(),
        priority: priority.parse().unwrap(),
        host: host.try_into().unwrap(),
        port: port.parse().unwrap(),
        kind,
    })
}

/// Chromium with one page of ours, at the end of a pipe.
struct Browser(Script);

impl Browser {
    /// `None` when something is missing to run it, which CI does not forgive.
    fn start(flags: &[&str]) -> Option<Self> {
        Script::start("browser.js", flags).map(Self)
    }

    /// Calls a function of the page and waits for what it returns.
    fn call(&mut self, name: &str, argument: Value) -> Value {
        self.0.call(name, argument)
    }

    fn begin(&mut self, name: &str, argument: Value) {
        self.0.begin(name, argument);
    }

    fn answer(&mut self) -> Value {
        self.0.answer()
    }

    /// All that it tells of its own addresses.
    fn candidates(&mut self) -> Vec<Candidate> {
        let lines: Vec<_> =
            std::iter::from_fn(|| self.call("candidate", Value::Null).as_str().map(str::to_owned))
                .collect();
        lines.iter().filter_map(|line| parse_candidate(line)).collect()
    }
}
