//! A lane of TLS, from what the ends say of their listeners to the first messages on it, which
//! prove that it is theirs. PROTOCOL.md, "Lanes of TLS".

use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::timeout};

use super::{
    establish::{Speech, checked_hello, heard, hello},
    flight::SHORT,
    lanes::Voice,
    signalling::Signalled,
};
use crate::{
    error::Error,
    net::{
        stream::{read_message, write_message},
        tls::{Connection, Endpoint},
    },
    proto::{
        Role,
        binding::{Binding, Fingerprints},
        pake::Keys,
        signal::{Listener, Signal},
    },
};

/// How long the other end may take for its first message.
const GREETING: Duration = Duration::from_secs(2);

/// Connections on which the receiver waits for the sender's first message at once.
const MOST_GREETINGS: usize = 8;

/// Opens a lane of this number.
///
/// # Errors
/// [`Error::NoPath`] when the other end does not want one. One that never comes up takes for ever.
pub(super) async fn open(role: Role, keys: Keys, voice: &mut Voice) -> Result<Connection, Error> {
    let endpoint = Endpoint::open();
    let ours = endpoint.listener();
    voice.say(&[Signal::Listener(ours.clone())]);
    let theirs = listener(voice).await?;
    let fingerprints = Fingerprints::of(role, ours.fingerprint, theirs.fingerprint);
    let binding = Binding::new(keys, fingerprints, 0);
    let mut meeting = endpoint.meet(&theirs);
    match role {
        Role::Sender => loop {
            let greeted = greet(meeting.next().await, binding.clone(), voice.lane);
            match timeout(GREETING, greeted).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => tracing::debug!(%error, "TLS"),
                Err(_) => tracing::debug!("the peer does not greet"),
            }
        },
        Role::Receiver => {
            let mut greetings = JoinSet::new();
            loop {
                tokio::select! {
                    connection = meeting.next(), if greetings.len() < MOST_GREETINGS => {
                        greetings.spawn(answer(connection, binding.clone(), voice.lane));
                    }
                    Some(answered) = greetings.join_next() => match answered {
                        Ok(Ok(connection)) => return Ok(connection),
                        Ok(Err(error)) => tracing::debug!(%error, "TLS"),
                        Err(error) => tracing::debug!(%error, "TLS"),
                    },
                }
            }
        }
    }
}

/// Waits for what the other end says of its listener.
async fn listener(voice: &mut Voice) -> Result<Listener, Error> {
    loop {
        if let Signalled::Signals(signals) = heard(voice.next().await?)? {
            let listener = signals.into_iter().find_map(|signal| match signal {
                Signal::Listener(listener) => Some(listener),
                _ => None,
            });
            if let Some(listener) = listener {
                return Ok(listener);
            }
        }
    }
}

/// The sender's part: it speaks first, on the connection that it has chosen.
async fn greet(
    mut connection: Connection,
    binding: Binding,
    lane: u32,
) -> Result<Connection, Error> {
    let start = Instant::now();
    let binding = binding.under(connection.exporter);
    say_hello(&mut connection, &binding, Role::Sender, lane).await?;
    take_hello(&mut connection, &binding, Role::Sender, lane).await?;
    if start.elapsed() > SHORT {
        connection.expect_loss();
    }
    Ok(connection)
}

/// The receiver's part, on each connection that there is.
async fn answer(
    mut connection: Connection,
    binding: Binding,
    lane: u32,
) -> Result<Connection, Error> {
    let binding = binding.under(connection.exporter);
    take_hello(&mut connection, &binding, Role::Receiver, lane).await?;
    say_hello(&mut connection, &binding, Role::Receiver, lane).await?;
    Ok(connection)
}

async fn say_hello(
    connection: &mut Connection,
    binding: &Binding,
    role: Role,
    lane: u32,
) -> Result<(), Error> {
    let hello = hello(binding, role, lane, false).to_wire();
    write_message(&mut connection.stream, &hello).await.map_err(|_| Error::NoPath)
}

async fn take_hello(
    connection: &mut Connection,
    binding: &Binding,
    role: Role,
    lane: u32,
) -> Result<(), Error> {
    let message = read_message(&mut connection.stream).await.map_err(|_| Error::NoPath)?;
    checked_hello(binding, role, lane, &message).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::pake::tests_support::keys;

    const LANE: u32 = 2;

    /// Two ends of one connection, and what a lane over it is bound to, but for the connection.
    async fn connected() -> (Connection, Connection, Binding) {
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
        let greeted = greet(sender, binding.clone(), LANE);
        let (greeted, answered) = tokio::join!(greeted, answer(receiver, binding, LANE));
        assert!(greeted.is_ok() && answered.is_ok());
    }

    #[tokio::test]
    async fn a_greeting_for_another_lane_or_connection_is_refused() {
        let (sender, receiver, binding) = connected().await;
        tokio::spawn(greet(sender, binding.clone(), LANE + 1));
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
}
