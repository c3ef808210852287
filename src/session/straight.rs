//! A lane of TLS or QUIC, from what the ends say of their certificates to the first messages on it,
//! which prove that it is theirs. PROTOCOL.md, "Lanes of TLS and QUIC".

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::timeout,
};

use super::{
    establish::{Speech, checked_hello, heard, hello},
    lanes::Voice,
    signalling::Signalled,
};
use crate::{
    error::Error,
    net::{
        flight::SHORT,
        identity::Identity,
        quic::{self, QuicEnd, UdpPath},
        stream::{Arrivals, Connection, read_message, write_message},
        tls::{self, Endpoint},
    },
    proto::{
        Role,
        binding::{Binding, Fingerprints},
        pake::Keys,
        signal::{Listener, Signal},
    },
};

/// How long a lane may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the other end may take for its first message.
const GREETING: Duration = Duration::from_secs(2);

/// Connections on which the receiver waits for the sender's first message at once.
const MOST_GREETINGS: usize = 8;

/// What becomes of a lane that is being opened, which may take so long and no longer.
pub(super) async fn in_time<S>(
    opening: impl Future<Output = Result<Connection<S>, Error>>,
) -> Result<Connection<S>, Error> {
    timeout(PATIENCE, opening).await.unwrap_or(Err(Error::NoPath))
}

/// Opens a lane of TLS.
///
/// # Errors
/// [`Error::NoPath`] when the other end does not want one. One that never comes up takes for ever.
pub(super) async fn open_tls(
    role: Role,
    keys: Keys,
    voice: &mut Voice,
) -> Result<tls::Connection, Error> {
    let endpoint = Endpoint::open();
    let ours = endpoint.listener();
    voice.say(&[Signal::Listener(ours.clone())]);
    let theirs = told(voice, listener).await?;
    let fingerprints = Fingerprints::of(role, ours.fingerprint, theirs.fingerprint);
    let binding = Binding::new(keys, fingerprints, 0);
    let mut meeting = endpoint.meet(&theirs);
    match role {
        Role::Sender => loop {
            match greet(meeting.next().await, &binding, voice.lane).await {
                Ok(connection) => {
                    if connection.shortest.get().is_some_and(|round| round > SHORT) {
                        tls::expect_loss(&connection);
                    }
                    return Ok(connection);
                }
                Err(error) => tracing::debug!(%error, "TLS"),
            }
        },
        Role::Receiver => Ok(first_answered(meeting, &binding, voice.lane).await),
    }
}

/// Opens a lane of QUIC on a path, between ends that tell each other of their certificates first.
///
/// # Errors
/// [`Error::NoPath`] when there is none, or the other end does not want a lane there. One that never
/// comes up takes for ever.
pub(super) async fn agree_on_quic(
    role: Role,
    keys: Keys,
    path: Option<UdpPath>,
    voice: &mut Voice,
) -> Result<quic::Connection, Error> {
    let path = path.ok_or(Error::NoPath)?;
    let end = QuicEnd::open(Identity::new(), &path).map_err(|error| no_quic(&error))?;
    voice.say(&[Signal::Quic(end.fingerprint())]);
    let theirs = told(voice, certificate).await?;
    open_quic(role, keys, end, theirs, voice.lane).await
}

/// Opens a lane of QUIC, between ends that know of their certificates.
///
/// # Errors
/// As [`agree_on_quic`].
pub(super) async fn open_quic(
    role: Role,
    keys: Keys,
    end: QuicEnd,
    theirs: [u8; 32],
    lane: u32,
) -> Result<quic::Connection, Error> {
    let binding = Binding::new(keys, Fingerprints::of(role, end.fingerprint(), theirs), 0);
    match role {
        Role::Sender => {
            let connection = end.connect(theirs).await.map_err(|error| no_quic(&error))?;
            greet(connection, &binding, lane).await
        }
        Role::Receiver => {
            let waiting = end.listen(theirs).map_err(|error| no_quic(&error))?;
            Ok(first_answered(waiting, &binding, lane).await)
        }
    }
}

fn no_quic(error: &io::Error) -> Error {
    tracing::debug!(%error, "QUIC");
    Error::NoPath
}

fn listener(signal: &Signal) -> Option<Listener> {
    match signal {
        Signal::Listener(listener) => Some(listener.clone()),
        _ => None,
    }
}

fn certificate(signal: &Signal) -> Option<[u8; 32]> {
    match signal {
        Signal::Quic(fingerprint) => Some(*fingerprint),
        _ => None,
    }
}

/// Waits for something that the other end says of the lane.
async fn told<T>(voice: &mut Voice, is: fn(&Signal) -> Option<T>) -> Result<T, Error> {
    loop {
        if let Signalled::Signals(signals) = heard(voice.next().await?)?
            && let Some(told) = signals.iter().find_map(is)
        {
            return Ok(told);
        }
    }
}

/// The sender's part: it speaks first, on the connection that it has chosen.
async fn greet<S>(
    mut connection: Connection<S>,
    binding: &Binding,
    lane: u32,
) -> Result<Connection<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = Instant::now();
    let binding = binding.clone().under(connection.exporter);
    let greeted = async {
        say_hello(&mut connection, &binding, Role::Sender, lane).await?;
        take_hello(&mut connection, &binding, Role::Sender, lane).await
    };
    timeout(GREETING, greeted).await.map_err(|_| Error::NoPath)??;
    connection.shortest.see(start.elapsed());
    Ok(connection)
}

/// The receiver's part: the first connection, of those that come, whose other end greets as it must.
async fn first_answered<A: Arrivals>(
    mut arrivals: A,
    binding: &Binding,
    lane: u32,
) -> Connection<A::Stream>
where
    A::Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut greetings = JoinSet::new();
    loop {
        tokio::select! {
            connection = arrivals.next(), if greetings.len() < MOST_GREETINGS => {
                greetings.spawn(answer(connection, binding.clone(), lane));
            }
            Some(answered) = greetings.join_next() => match answered {
                Ok(Ok(connection)) => return connection,
                Ok(Err(error)) => tracing::debug!(%error, "greeting"),
                Err(error) => tracing::debug!(%error, "greeting"),
            },
        }
    }
}

/// Answers on one connection.
async fn answer<S>(
    mut connection: Connection<S>,
    binding: Binding,
    lane: u32,
) -> Result<Connection<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let binding = binding.under(connection.exporter);
    take_hello(&mut connection, &binding, Role::Receiver, lane).await?;
    say_hello(&mut connection, &binding, Role::Receiver, lane).await?;
    Ok(connection)
}

async fn say_hello<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    binding: &Binding,
    role: Role,
    lane: u32,
) -> Result<(), Error> {
    let hello = hello(binding, role, lane, false).to_wire();
    write_message(&mut connection.stream, &hello).await.map_err(|_| Error::NoPath)
}

async fn take_hello<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    binding: &Binding,
    role: Role,
    lane: u32,
) -> Result<(), Error> {
    let message = read_message(&mut connection.stream).await.map_err(|_| Error::NoPath)?;
    checked_hello(binding, role, lane, &message).map(|_| ())
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;
    use crate::{net::stream::Shortest, proto::pake::tests_support::keys};

    const LANE: u32 = 2;

    /// Two ends of one connection, and what a lane over it is bound to, but for the connection.
    async fn connected() -> (tls::Connection, tls::Connection, Binding) {
        let (sender, receiver) = (Endpoint::open(), Endpoint::open());
        let [at_sender, at_receiver] = [&sender, &receiver].map(Endpoint::listener);
        let fingerprints =
            Fingerprints { sender: at_sender.fingerprint, receiver: at_receiver.fingerprint };
        let only_connects = Listener { addresses: Vec::new(), ..at_receiver };
        let (mut sender, mut receiver) = (sender.meet(&only_connects), receiver.meet(&at_sender));
        let (sender, receiver) = tokio::join!(sender.next(), receiver.next());
        (sender, receiver, Binding::new(keys(), fingerprints, 0))
    }

    #[tokio::test]
    async fn both_ends_prove_themselves() {
        let (sender, receiver, binding) = connected().await;
        let greeted = greet(sender, &binding, LANE);
        let (greeted, answered) = tokio::join!(greeted, answer(receiver, binding.clone(), LANE));
        assert!(greeted.unwrap().shortest.get().is_some() && answered.is_ok());
    }

    #[tokio::test]
    async fn a_greeting_for_another_lane_or_connection_is_refused() {
        let (sender, receiver, binding) = connected().await;
        let other = binding.clone();
        tokio::spawn(async move { greet(sender, &other, LANE + 1).await });
        assert!(matches!(answer(receiver, binding, LANE).await, Err(Error::Unbound)));

        let (mut sender, mut receiver, binding) = connected().await;
        let bound = binding.clone().under(sender.exporter);
        say_hello(&mut sender, &bound, Role::Sender, LANE).await.unwrap();
        let hello = read_message(&mut receiver.stream).await.unwrap();
        let (mut sender, receiver, _) = connected().await;
        write_message(&mut sender.stream, &hello).await.unwrap();
        assert!(matches!(answer(receiver, binding, LANE).await, Err(Error::Unbound)), "replayed");
    }

    #[tokio::test]
    async fn what_is_no_greeting_is_refused() {
        let (mut sender, receiver, binding) = connected().await;
        write_message(&mut sender.stream, b"nonsense").await.unwrap();
        assert!(matches!(answer(receiver, binding.clone(), LANE).await, Err(Error::Unbound)));
        let (sender, receiver, _) = connected().await;
        drop(sender);
        assert!(matches!(answer(receiver, binding, LANE).await, Err(Error::NoPath)));
    }

    /// A connection of which this test has both ends.
    fn piped() -> (Connection<DuplexStream>, Connection<DuplexStream>) {
        let (near, far) = tokio::io::duplex(4096);
        let [near, far] = [near, far].map(|stream| Connection {
            stream,
            exporter: [3; 32],
            shortest: Shortest::default(),
        });
        (near, far)
    }

    fn binding() -> Binding {
        Binding::new(keys(), Fingerprints { sender: [1; 32], receiver: [2; 32] }, 0)
    }

    /// Connections that come one after the other, and then none.
    struct Queue(Vec<Connection<DuplexStream>>);

    impl Arrivals for Queue {
        type Stream = DuplexStream;

        async fn next(&mut self) -> Connection<DuplexStream> {
            match self.0.pop() {
                Some(connection) => connection,
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_never_speaks_is_waited_for_no_longer_than_it_may_take() {
        let (near, _silent) = piped();
        let start = tokio::time::Instant::now();
        assert!(matches!(greet(near, &binding(), LANE).await, Err(Error::NoPath)));
        assert_eq!(start.elapsed(), GREETING);
    }

    #[tokio::test]
    async fn connections_that_never_speak_do_not_keep_out_one_that_does() {
        let (silent, ends): (Vec<_>, Vec<_>) = (1..MOST_GREETINGS).map(|_| piped()).unzip();
        let (near, far) = piped();
        // The last is taken first.
        let arrivals = Queue(std::iter::once(far).chain(ends).collect());
        let binding = binding();
        let answered = first_answered(arrivals, &binding, LANE);
        let (greeted, _) = tokio::join!(greet(near, &binding, LANE), answered);
        assert!(greeted.is_ok());
        drop(silent);
    }
}
