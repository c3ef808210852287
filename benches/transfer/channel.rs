//! A data channel of the library's with nothing above it: what the same stack, tuned the same
//! way, carries from memory to memory. Descriptions and addresses go over a TCP connection.

use std::{net::SocketAddr, time::Duration};

use bytes::BytesMut;
use p2pshare::{
    Network,
    net::{
        interfaces,
        lane::{LaneEvent, LaneReceiver, LaneSender},
        packet::{LARGEST_MTU, SAFE_MTU},
        peer::{Channel, DATA, Peer, PeerEvent},
    },
    proto::{
        Role,
        signal::{Description, Signal},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    contender::{Ends, Measured, Scene},
    process::Running,
    tcp::address,
};

/// Bytes under way: as many as the product's lanes may have.
const UNDER_WAY: usize = 2 * 1024 * 1024;

/// How soon it is looked again whether there is place.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// How large packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packets {
    /// As every path carries them.
    Safe,
    /// As this path does.
    Path,
}

pub(crate) fn run(scene: &Scene<'_>, packets: Packets) -> Result<Measured, String> {
    let Scene { place, content, .. } = scene;
    let bytes = content.bytes.to_string();
    let listen = format!("{}:0", place.address(Role::Receiver));
    let receiver = place.own(Role::Receiver, &["channel-receive", &listen, &bytes]);
    let mut receiver = Running::start(receiver);
    let address = receiver.wait_for(address)?;
    let mut sender = place.own(Role::Sender, &["channel-send", &address, &bytes]);
    if packets == Packets::Path {
        sender.arg("--path");
    }
    Ends::sender_joins(receiver, sender).finish(scene)
}

/// The child that receives.
pub(crate) async fn receive(listen: SocketAddr, bytes: u64) {
    let listener = TcpListener::bind(listen).await.expect("the address is this machine's");
    println!("listening at {}", listener.local_addr().expect("it is bound"));
    let (stream, _) = listener.accept().await.expect("the sender comes");
    let (mut from, mut to) = stream.into_split();
    let Some(Signal::Description(offer)) = hear(&mut from).await else { panic!("no offer") };
    let routes = Network::default().prepare(&[]);
    let (peer, [channel], answer) =
        Peer::answer(routes, [DATA], &offer).await.expect("the machine can do it");
    let (_peer, lane, mut events) = connect(peer, channel, &answer, from, &mut to).await;
    let mut rest = bytes;
    while rest > 0 {
        let LaneEvent::Message(message) = events.next().await else { panic!("{rest} missing") };
        rest = rest.saturating_sub(message.len() as u64);
    }
    lane.send(BytesMut::from(&[1][..])).await.expect("the sender waits for it");
    while !matches!(events.next().await, LaneEvent::Closed) {}
}

/// The child that sends.
pub(crate) async fn send(to: SocketAddr, bytes: u64, packets: Packets) {
    let stream = TcpStream::connect(to).await.expect("the receiver listens");
    let own = stream.local_addr().expect("it is connected").ip();
    let mtu = match packets {
        Packets::Safe => SAFE_MTU,
        Packets::Path => interfaces::mtu(own, to.ip()).clamp(SAFE_MTU, LARGEST_MTU),
    };
    let (from, mut to) = stream.into_split();
    let routes = Network::default().prepare(&[]);
    let (peer, [channel], offer) =
        Peer::offer(routes, [DATA], mtu).await.expect("the machine can do it");
    let (peer, lane, mut events) = connect(peer, channel, &offer, from, &mut to).await;
    send_all(&lane, bytes).await;
    let LaneEvent::Message(_) = events.next().await else { panic!("it did not arrive") };
    peer.close().await;
}

async fn send_all(lane: &LaneSender, bytes: u64) {
    let longest = lane.best_length(u64::MAX);
    let message = vec![7; longest];
    let mut rest = bytes;
    while rest > 0 {
        while lane.outstanding().await.is_ok_and(|bytes| bytes > UNDER_WAY) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let length = usize::try_from(rest).map_or(longest, |rest| rest.min(longest));
        lane.send(BytesMut::from(&message[..length])).await.expect("the receiver is there");
        rest -= length as u64;
    }
}

/// Exchanges what is to be told and waits until the channel is open.
async fn connect(
    mut peer: Peer,
    (lane, mut events): Channel,
    ours: &Description,
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
) -> (Peer, LaneSender, LaneReceiver) {
    say(to, Signal::Description(ours.clone())).await;
    let (heard, mut signals) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(signal) = hear(&mut from).await {
            // The other side of the channel lives as long as the connection is made.
            let _ = heard.send(signal);
        }
    });
    loop {
        tokio::select! {
            event = peer.next() => match event {
                PeerEvent::Candidate(candidate) => say(to, Signal::Candidate(candidate)).await,
                PeerEvent::Gathered { .. } | PeerEvent::Connected => {}
                PeerEvent::Lost => panic!("there is no path"),
            },
            Some(signal) = signals.recv() => match signal {
                Signal::Description(answer) => peer.accept(&answer).await.expect("it answers"),
                Signal::Candidate(candidate) => peer.add_candidate(&candidate).await,
                Signal::EndOfCandidates
                | Signal::Cancel(_)
                | Signal::Listener(_)
                | Signal::Quic(_) => {}
            },
            event = events.next() => {
                assert!(matches!(event, LaneEvent::Open), "{event:?}");
                break;
            }
        }
    }
    peer.opened();
    (peer, lane, events)
}

async fn say(to: &mut OwnedWriteHalf, signal: Signal) {
    let bytes = Signal::to_wire(&[signal]);
    let length = u32::try_from(bytes.len()).expect("a signal is short");
    to.write_u32(length).await.expect("the peer listens");
    to.write_all(&bytes).await.expect("the peer listens");
}

/// `None` when nothing follows.
async fn hear(from: &mut OwnedReadHalf) -> Option<Signal> {
    let length = from.read_u32().await.ok()?;
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes).await.ok()?;
    Signal::from_wire(&bytes).ok()?.pop()
}
