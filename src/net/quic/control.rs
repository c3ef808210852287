//! How much QUIC has on its way: what the line [holds](Flight), as with data channels. Packets that
//! are lost do not make it less, and with queues that stay short little is lost or sent twice.

use std::{any::Any, sync::Arc, time::Instant};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

use crate::net::{flight::Flight, stream::Shortest};

/// Makes one for each connection.
#[derive(Debug)]
pub(super) struct Factory {
    /// The most bytes that may be on their way.
    pub(super) most: u64,
    /// What is seen of the round trip.
    pub(super) shortest: Shortest,
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, _: u16) -> Box<dyn Controller> {
        Box::new(Control {
            line: Flight::bold(self.most, now),
            sent: 0,
            acknowledged: None,
            shortest: self.shortest.clone(),
        })
    }
}

/// See the module.
#[derive(Clone, Debug)]
struct Control {
    line: Flight,
    sent: u64,
    /// Of the acknowledgements that come together: bytes, and when the last of them left.
    acknowledged: Option<(u64, Instant)>,
    shortest: Shortest,
}

impl Controller for Control {
    fn on_sent(&mut self, now: Instant, bytes: u64, _: u64) {
        self.sent += bytes;
        self.line.sent(self.sent, now);
    }

    fn on_ack(&mut self, _: Instant, sent: Instant, bytes: u64, _: bool, _: &RttEstimator) {
        let (before, last) = self.acknowledged.unwrap_or((0, sent));
        self.acknowledged = Some((before + bytes, last.max(sent)));
    }

    fn on_end_acks(&mut self, now: Instant, _: u64, app_limited: bool, _: Option<u64>) {
        if !app_limited {
            self.line.was_held_back();
        }
        if let Some((bytes, left)) = self.acknowledged.take() {
            self.line.acknowledged(bytes, left, now);
            self.line.shortest().into_iter().for_each(|round| self.shortest.see(round));
        }
    }

    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        self.line.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.line.window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
