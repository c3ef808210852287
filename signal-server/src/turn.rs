//! STUN and TURN on the server's sockets: what comes by UDP and by streams goes to `stun` and
//! `relay`, what these answer goes out again. Started by `run` and, for streams, by `reception`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use turn_types::stun::message::Message;

use self::relayed::Relayed;
use crate::admission::Stopping;
use crate::framing::{Frames, MAX_FRAME, pad};
use crate::reception::Stream;
use crate::relay::{Client, Counters, Now, Output, Relay};
use crate::stun::{self, Pair, canonical};
use crate::udp::{Buffers, Udp};

pub(crate) use self::relayed::RelayIp;

mod relayed;

/// How often what has expired is looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// How soon a socket is read again that gave an error.
const AFTER_ERROR: Duration = Duration::from_millis(1);

/// How long a stream may be silent before it is looked whether it has an allocation.
const SILENCE: Duration = Duration::from_secs(10);

/// Messages that may wait for a stream: half a megabyte. What comes by UDP beyond that is lost,
/// what comes by another stream waits there.
const MOST_WAITING: usize = 512;

/// Bytes read from a stream, or written to it, at once.
const STREAM_BUFFER: usize = 64 * 1024;

/// The service.
pub(crate) struct Turn {
    sockets: Vec<Udp>,
    pair: Option<Pair>,
    state: Mutex<State>,
}

struct State {
    relay: Option<Relay>,
    relayed: Relayed,
    streams: HashMap<u64, mpsc::Sender<Vec<u8>>>,
    last_stream: u64,
}

/// Something on its way out.
enum Delivery {
    Datagram { at: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Stream(mpsc::Sender<Vec<u8>>, Vec<u8>),
    Peer(Arc<UdpSocket>, SocketAddr, Vec<u8>),
}

/// What happens to a message for a stream whose queue is full.
#[derive(Clone, Copy)]
enum WhenFull {
    Lose,
    Wait,
}

impl Turn {
    pub(crate) fn new(
        sockets: Vec<Udp>,
        pair: Option<Pair>,
        relay: Option<Relay>,
        open: Option<RelayIp>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|turn| {
            let relayed = match open {
                Some(from) => Relayed::real(from, turn.clone()),
                None => Relayed::named(),
            };
            let state = State { relay, relayed, streams: HashMap::new(), last_stream: 0 };
            Self { sockets, pair, state: Mutex::new(state) }
        })
    }

    /// What the relay has done, and how many allocations it has; none without one.
    pub(crate) fn counters(&self) -> Option<(Counters, usize)> {
        let state = self.lock();
        state.relay.as_ref().map(|relay| (relay.counters(), relay.allocations()))
    }

    /// Serves everything that comes by UDP. Runs until it is dropped.
    pub(crate) async fn serve_datagrams(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        for index in 0..self.sockets.len() {
            let turn = Arc::clone(&self);
            tasks.spawn(async move { turn.serve_socket(&turn.sockets[index]).await });
        }
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            sweep.tick().await;
            let State { relay, relayed, .. } = &mut *self.lock();
            if let Some(relay) = relay {
                relay.expire(now(), relayed);
            }
        }
    }

    async fn serve_socket(&self, socket: &Udp) {
        let mut buffers = Buffers::default();
        loop {
            if let Err(error) = socket.receive(&mut buffers).await {
                // An earlier datagram could not be delivered, or the network is down for a while.
                tracing::trace!(%error, "nothing received");
                sleep(AFTER_ERROR).await;
                continue;
            }
            let deliveries = {
                let mut state = self.lock();
                let mut out = Vec::new();
                for datagram in socket.datagrams(&buffers) {
                    let client = Client::Datagrams { from: datagram.from, at: datagram.at };
                    state.take(client, datagram.bytes, self.pair, &mut out);
                }
                state.route(out)
            };
            self.deliver(deliveries, WhenFull::Lose).await;
        }
    }

    /// Serves a client that came by a stream, until it goes away or has no allocation.
    pub(crate) async fn serve_stream(
        &self,
        stream: Stream,
        from: SocketAddr,
        mut stopping: Stopping,
    ) {
        let (queue, outgoing) = mpsc::channel(MOST_WAITING);
        let number = self.lock().add_stream(queue);
        let client = Client::Stream { number, from: canonical(from) };
        let (reader, writer) = split(stream);
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => {}
            () = self.read(client, reader) => {}
            () = write(outgoing, writer) => {}
        }
        self.lock().remove_stream(number, client);
    }

    async fn read(&self, client: Client, mut reader: ReadHalf<Stream>) {
        let mut frames = Frames::default();
        let mut buffer = vec![0; STREAM_BUFFER];
        loop {
            let read = match timeout(SILENCE, reader.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(read)) => read,
                Err(_) if self.lock().knows(client) => continue,
                Err(_) => return,
            };
            frames.extend(&buffer[..read]);
            let deliveries = {
                let mut state = self.lock();
                let mut out = Vec::new();
                loop {
                    match frames.take() {
                        Ok(Some(frame)) => state.take(client, frame, None, &mut out),
                        Ok(None) => break,
                        Err(_) => return,
                    }
                }
                state.route(out)
            };
            self.deliver(deliveries, WhenFull::Wait).await;
        }
    }

    /// Takes what a peer sent to a relayed address of an open relay.
    async fn take_from_peer(&self, client: Client, peer: SocketAddr, bytes: &[u8]) {
        let deliveries = {
            let mut state = self.lock();
            let State { relay: Some(relay), relayed, .. } = &mut *state else { return };
            let mut out = Vec::new();
            relay.take_from_peer(client, canonical(peer), bytes, now(), relayed, &mut out);
            state.route(out)
        };
        self.deliver(deliveries, WhenFull::Lose).await;
    }

    async fn deliver(&self, deliveries: Vec<Delivery>, when_full: WhenFull) {
        let mut datagrams = Batch::default();
        for delivery in deliveries {
            match delivery {
                Delivery::Datagram { at, to, bytes } => {
                    if datagrams.ends != Some((at, to)) {
                        self.send(&mut datagrams).await;
                        datagrams.ends = Some((at, to));
                    }
                    datagrams.lengths.push(bytes.len());
                    datagrams.bytes.extend_from_slice(&bytes);
                }
                Delivery::Stream(queue, bytes) => {
                    // Errors: the stream has ended, or is to lose it.
                    let _ = match when_full {
                        WhenFull::Lose => queue.try_send(bytes).is_ok(),
                        WhenFull::Wait => queue.send(bytes).await.is_ok(),
                    };
                }
                Delivery::Peer(socket, peer, bytes) => {
                    let _ = socket.send_to(&bytes, peer).await;
                }
            }
        }
        self.send(&mut datagrams).await;
    }

    async fn send(&self, batch: &mut Batch) {
        let Batch { ends: Some((at, to)), lengths, bytes } = std::mem::take(batch) else { return };
        let Some(socket) = self.sockets.iter().find(|socket| socket.serves(at)) else { return };
        let (mut next, mut rest) = (0, &bytes[..]);
        while next < lengths.len() {
            let run = socket.run_of(&lengths, next);
            let (now, later) = rest.split_at(lengths[run.clone()].iter().sum());
            socket.send(at, to, lengths[next], now).await;
            (next, rest) = (run.end, later);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Datagrams from one address of the server to one client.
#[derive(Default)]
struct Batch {
    ends: Option<(SocketAddr, SocketAddr)>,
    lengths: Vec<usize>,
    bytes: Vec<u8>,
}

impl State {
    fn take(&mut self, client: Client, bytes: &[u8], pair: Option<Pair>, out: &mut Vec<Output>) {
        if let Some(answer) = answer_binding(client, bytes, pair) {
            out.push(answer);
        } else if let Some(relay) = &mut self.relay {
            relay.handle(client, bytes, now(), &mut self.relayed, out);
        }
    }

    /// Finds the ways out.
    fn route(&self, out: Vec<Output>) -> Vec<Delivery> {
        let routed = out.into_iter().filter_map(|output| match output {
            Output::Client(Client::Datagrams { from, at }, bytes) => {
                Some(Delivery::Datagram { at, to: from, bytes })
            }
            Output::Client(Client::Stream { number, .. }, bytes) => {
                self.streams.get(&number).map(|queue| Delivery::Stream(queue.clone(), bytes))
            }
            Output::Peer { relayed, peer, data } => {
                self.relayed.socket(relayed).map(|socket| Delivery::Peer(socket, peer, data))
            }
        });
        routed.collect()
    }

    fn knows(&self, client: Client) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.knows(client))
    }

    fn add_stream(&mut self, queue: mpsc::Sender<Vec<u8>>) -> u64 {
        self.last_stream += 1;
        self.streams.insert(self.last_stream, queue);
        self.last_stream
    }

    fn remove_stream(&mut self, number: u64, client: Client) {
        self.streams.remove(&number);
        if let Some(relay) = &mut self.relay {
            relay.disconnect(client, &mut self.relayed);
        }
    }
}

fn answer_binding(client: Client, bytes: &[u8], pair: Option<Pair>) -> Option<Output> {
    // A Binding request begins with 0x0001; nothing else is parsed twice.
    if !bytes.starts_with(&[0, 1]) {
        return None;
    }
    let message = Message::from_bytes(bytes).ok()?;
    match client {
        Client::Datagrams { from, at } => {
            let answer = stun::answer(&message, from, at, pair)?;
            Some(Output::Client(Client::Datagrams { from, at: answer.via }, answer.bytes))
        }
        Client::Stream { from, .. } => {
            let answer = stun::answer(&message, from, from, None)?;
            Some(Output::Client(client, answer.bytes))
        }
    }
}

/// Writes what waits for a stream, as much at once as there is.
async fn write(mut outgoing: mpsc::Receiver<Vec<u8>>, mut writer: WriteHalf<Stream>) {
    let mut messages = Vec::new();
    let mut bytes = Vec::with_capacity(STREAM_BUFFER);
    while outgoing.recv_many(&mut messages, STREAM_BUFFER / MAX_FRAME).await > 0 {
        bytes.clear();
        for mut message in messages.drain(..) {
            pad(&mut message);
            bytes.extend_from_slice(&message);
        }
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), unix: unix.as_secs() }
}
