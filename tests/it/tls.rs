//! Lanes of TLS between two command lines: they take over, and nothing is lost when a network lets
//! none through, or cuts one.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    harness::{Finished, LESS_SLOW, Running, side_by_side},
    lanes::Transfer,
    namespace::{drop_nothing, drop_to, reset_to},
};

/// Slow enough that something can happen meanwhile.
pub(crate) const SLOW: [&str; 2] = ["--bwlimit", "40M"];

pub(crate) const RECEIVER: &str = "10.78.1.2";
pub(crate) const SENDER: &str = "10.78.1.1";

/// Waits until exactly these kinds of lane carry.
pub(crate) fn carried_over(sender: &mut Running, kinds: &Value) {
    while sender.event("progress")["over"] != *kinds {}
}

/// Whether a kind of lane carried something.
pub(crate) fn was_over(kind: &str, end: &Finished) -> bool {
    let events = end.events();
    let over = events.iter().filter_map(|event| event["over"].as_array());
    over.flatten().any(|carried| carried == kind)
}

fn was_over_tls(end: &Finished) -> bool {
    was_over("tls", end)
}

/// Whether a machine listens for TCP connections.
fn listens(machine: &str) -> bool {
    const LISTENING: &str = "0A";
    let cat = ["netns", "exec", machine, "cat", "/proc/net/tcp", "/proc/net/tcp6"];
    let table = String::from_utf8(Command::new("ip").args(cat).output().unwrap().stdout).unwrap();
    table.lines().any(|line| line.split_whitespace().nth(3) == Some(LISTENING))
}

#[test]
fn two_command_lines_go_over_to_tls_and_say_so() {
    let Some(mut transfer) = Transfer::with([&LESS_SLOW, &[]], |_, _| {}) else { return };
    carried_over(&mut transfer.sender, &json!(["tls"]));
    for machine in [&transfer.sending, &transfer.receiving] {
        assert!(!listens(machine), "nobody listens any more when there is a lane");
    }
    let ends = transfer.complete();
    assert!(ends.iter().all(was_over_tls), "{ends:#?}");
}

#[test]
fn who_wants_data_channels_or_relays_has_no_lane_of_tls_and_listens_nowhere() {
    let wishes: [[&[&str]; 2]; 3] = [
        [&["--lanes", "data-channel"], &[]],
        [&[], &["--lanes", "data-channel"]],
        [&[], &["--transport", "relay"]],
    ];
    side_by_side(3, wishes, |[sender, receiver]| {
        let sender = [&LESS_SLOW, sender].concat();
        let Some(mut transfer) = Transfer::with([&sender, receiver], |_, _| {}) else { return };
        transfer.sender.event("progress");
        assert!(!listens(&transfer.sending) && !listens(&transfer.receiving), "{receiver:?}");
        let ends = transfer.complete();
        assert!(!ends.iter().any(was_over_tls), "{ends:#?}");
    });
}

#[test]
fn where_tcp_is_blocked_and_quic_not_wanted_data_channels_carry() {
    let blocked = Transfer::with([&["--lanes", "tls"], &[]], |_, [sending, receiving]| {
        drop_to(sending, RECEIVER, "tcp");
        drop_to(receiving, SENDER, "tcp");
    });
    let Some(transfer) = blocked else { return };
    let ends = transfer.complete();
    assert!(!ends.iter().any(was_over_tls), "{ends:#?}");
}

#[test]
fn where_udp_is_blocked_a_lane_of_tls_leads_past_the_relay() {
    let blocked = Transfer::with([&LESS_SLOW, &[]], |_, [sending, receiving]| {
        drop_to(sending, RECEIVER, "udp");
        drop_to(receiving, SENDER, "udp");
    });
    let Some(transfer) = blocked else { return };
    let [sender, receiver] = transfer.complete();
    assert_eq!(receiver.event("connected")["path"], "relay");
    assert!(was_over_tls(&sender) && was_over_tls(&receiver), "{sender:#?}");
}

#[test]
fn a_lane_of_tls_that_falls_silent_costs_no_byte() {
    let Some(mut transfer) = Transfer::with([&SLOW, &[]], |_, _| {}) else { return };
    carried_over(&mut transfer.sender, &json!(["tls"]));
    drop_to(&transfer.sending, RECEIVER, "tcp");
    carried_over(&mut transfer.sender, &json!(["quic"]));
    transfer.complete();
}

#[test]
fn a_lane_of_tls_that_is_reset_costs_no_byte_and_is_followed_by_another() {
    let Some(mut transfer) = Transfer::with([&SLOW, &[]], |_, _| {}) else { return };
    for _ in 0..3 {
        carried_over(&mut transfer.sender, &json!(["tls"]));
        reset_to(&transfer.sending, RECEIVER);
        carried_over(&mut transfer.sender, &json!(["quic"]));
        drop_nothing(&transfer.sending);
    }
    transfer.complete();
}
