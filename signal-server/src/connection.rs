//! One WebSocket: reads requests, writes replies, notices when the client is gone.
//!
//! Decides nothing about rooms; a request goes to the hub by its [`Line`] and the replies come
//! back the same way. Started by `http` when a request was upgraded.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::admission::Stopping;
use crate::hub::{Line, not_understood};
use crate::protocol::Request;

/// How often a client is asked for a sign of life. Below the shortest time after which routers
/// commonly forget an idle TCP connection.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How many pings may stay unanswered.
const MISSED_PINGS: u32 = 2;

/// How long the last words to a client may take.
const FAREWELL_TIME: Duration = Duration::from_millis(500);

type Writer = SplitSink<WebSocket, Message>;
type Reader = SplitStream<WebSocket>;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The client closed it, or it broke.
    Closed,
    /// The client said something that is not a request.
    NotUnderstood,
    /// The client does not read what it is told.
    TooSlow,
    /// Nothing was heard of the client for too long.
    Silent,
    /// The server ends or cannot go on.
    Stopping,
}

/// Serves a client until one side has enough.
pub(crate) async fn serve(socket: WebSocket, mut line: Line, mut stopping: Stopping) {
    let number = line.number();
    tracing::debug!(connection = number, "opened");
    let (mut writer, mut reader) = socket.split();
    let ending = converse(&mut writer, &mut reader, &mut line, &mut stopping).await;
    tracing::debug!(connection = number, ?ending, "closed");
    // The peers learn it now, not after a slow farewell.
    drop(line);
    // A client that does not take its farewell does without.
    let _ = timeout(FAREWELL_TIME, say_farewell(writer, ending)).await;
}

async fn converse(
    writer: &mut Writer,
    reader: &mut Reader,
    line: &mut Line,
    stopping: &mut Stopping,
) -> Ending {
    let mut pulse = Pulse::default();
    let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let outcome = tokio::select! {
            // In this order: when the server ends, nobody may be told that the peer's socket
            // closed, which would look as if the peer had ended. Reading comes last and yet has
            // its turn, because a room says no more than 64 messages without an answer.
            biased;
            _ = stopping.wait_for(|stop| *stop) => Err(Ending::Stopping),
            _ = pings.tick() => ping(writer, &mut pulse),
            written = write_next(writer, line) => written,
            frame = reader.next() => {
                pulse.heard();
                take(frame, line)
            }
        };
        if let Err(ending) = outcome {
            return ending;
        }
    }
}

/// Takes what the client sent. Pings are answered by the WebSocket library.
fn take(frame: Option<Result<Message, axum::Error>>, line: &Line) -> Result<(), Ending> {
    let request = match frame {
        None | Some(Ok(Message::Close(_))) => return Err(Ending::Closed),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
        Some(Ok(Message::Text(text))) => serde_json::from_str::<Request>(text.as_str()),
        // Too long, not UTF-8 or not a frame; or broken, and then the answer goes nowhere.
        Some(Ok(Message::Binary(_)) | Err(_)) => return Err(Ending::NotUnderstood),
    };
    if line.is_cut() {
        return Err(Ending::TooSlow);
    }
    line.request(request.map_err(|_| Ending::NotUnderstood)?).map_err(|error| {
        tracing::error!(%error, "the operating system gives no random bytes");
        Ending::Stopping
    })
}

/// Waits until the last reply is written and there is a next one. May be dropped half-way.
async fn write_next(writer: &mut Writer, line: &mut Line) -> Result<(), Ending> {
    writer.flush().await.map_err(|_| Ending::Closed)?;
    let text = line.next().await.ok_or(Ending::TooSlow)?;
    writer.start_send_unpin(Message::Text(text)).map_err(|_| Ending::Closed)
}

/// Asks for a sign of life. A ping that cannot be written now counts as unanswered.
fn ping(writer: &mut Writer, pulse: &mut Pulse) -> Result<(), Ending> {
    pulse.beat()?;
    match writer.feed(Message::Ping(Vec::new().into())).now_or_never() {
        Some(Err(_)) => Err(Ending::Closed),
        Some(Ok(())) | None => Ok(()),
    }
}

/// Tells the client why it is over, and closes.
async fn say_farewell(mut writer: Writer, ending: Ending) -> Result<(), axum::Error> {
    if ending == Ending::NotUnderstood {
        writer.send(Message::Text(not_understood().into())).await?;
    }
    let (code, reason) = match ending {
        Ending::Closed => return writer.close().await,
        Ending::NotUnderstood => (close_code::POLICY, "not understood"),
        Ending::TooSlow => (close_code::POLICY, "too much waited to be read"),
        Ending::Silent => (close_code::AWAY, "no sign of life"),
        Ending::Stopping => (close_code::AWAY, "the server ends"),
    };
    writer.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await
}

/// How many pings a client has left unanswered. Anything it sends is a sign of life.
#[derive(Default)]
struct Pulse {
    missed: u32,
}

impl Pulse {
    fn heard(&mut self) {
        self.missed = 0;
    }

    /// It is time for a ping.
    fn beat(&mut self) -> Result<(), Ending> {
        if self.missed == MISSED_PINGS {
            return Err(Ending::Silent);
        }
        self.missed += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_miss_two_pings_and_any_sign_of_life_counts() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.beat(), Ok(()));
        assert_eq!(pulse.beat(), Ok(()));
        pulse.heard();
        assert_eq!(pulse.beat(), Ok(()));
        assert_eq!(pulse.beat(), Ok(()));
        assert_eq!(pulse.beat(), Err(Ending::Silent));
    }
}
