//! Lanes of QUIC between two command lines: they go where TCP does not, and nothing is lost when one
//! falls silent. That they cross NATs is in [`any_network`](crate::any_network).
//!
//! A lane is cut at two moments of a transfer, or at as many as `P2PSHARE_KILLS` says:
//! `P2PSHARE_KILLS=50 cargo test --test it cut_at_any_moment`.

use serde_json::json;

use crate::{
    harness::{Finished, LESS_SLOW, side_by_side},
    lanes::Transfer,
    namespace::{drop_nothing, drop_quic_to, drop_to, reset_to},
    tls::{RECEIVER, SENDER, SLOW, carried_over, was_over},
};

pub(crate) fn was_over_quic(end: &Finished) -> bool {
    was_over("quic", end)
}

#[test]
fn where_tcp_is_blocked_a_lane_of_quic_carries_and_both_ends_say_so() {
    let blocked = Transfer::with([&SLOW, &[]], |_, [sending, receiving]| {
        drop_to(sending, RECEIVER, "tcp");
        drop_to(receiving, SENDER, "tcp");
    });
    let Some(mut transfer) = blocked else { return };
    carried_over(&mut transfer.sender, &json!(["quic"]));
    let ends = transfer.complete();
    assert!(ends.iter().all(was_over_quic), "{ends:#?}");
}

#[test]
fn who_wants_a_lane_of_quic_has_it_at_once_and_who_wants_none_never() {
    let wishes: [([&[&str]; 2], bool); 5] = [
        ([&["--lanes", "quic"], &[]], true),
        ([&[], &["--lanes", "quic"]], true),
        ([&["--lanes", "quic"], &["--lanes", "tls"]], false),
        ([&["--lanes", "data-channel"], &["--lanes", "quic"]], false),
        ([&["--lanes", "quic", "--transport", "relay"], &[]], false),
    ];
    side_by_side(3, wishes, |([sender, receiver], is_there)| {
        let sender = [&LESS_SLOW, sender].concat();
        let Some(mut transfer) = Transfer::with([&sender, receiver], |_, _| {}) else { return };
        transfer.sender.event("progress");
        let ends = transfer.complete();
        assert!(ends.iter().all(|end| was_over_quic(end) == is_there), "{ends:#?}");
    });
}

#[test]
fn a_lane_of_quic_that_falls_silent_costs_no_byte_and_is_followed_by_another() {
    let arguments = [&SLOW[..], &["--lanes", "quic"]].concat();
    let Some(mut transfer) = Transfer::with([&arguments, &[]], |_, _| {}) else { return };
    carried_over(&mut transfer.sender, &json!(["quic"]));
    drop_quic_to(&transfer.sending, RECEIVER);
    carried_over(&mut transfer.sender, &json!(["data-channel"]));
    drop_nothing(&transfer.sending);
    carried_over(&mut transfer.sender, &json!(["quic"]));
    transfer.complete();
}

#[test]
fn a_lane_that_is_cut_at_any_moment_costs_no_byte() {
    let kills = std::env::var("P2PSHARE_KILLS").ok().and_then(|count| count.parse().ok());
    side_by_side(2, 0..kills.unwrap_or(2_u64), |kill| {
        // Each kind at moments all over a transfer, in an order that looks like none.
        let (kind, hundredth) = (["tls", "quic"][usize::from(kill % 2 == 1)], kill * 37 % 90);
        let arguments = [&LESS_SLOW[..], &["--lanes", kind]].concat();
        let Some(mut transfer) = Transfer::with([&arguments, &[]], |_, _| {}) else { return };
        carried_over(&mut transfer.sender, &json!([kind]));
        transfer.reach_hundredth(hundredth);
        match kind {
            "tls" => reset_to(&transfer.sending, RECEIVER),
            _ => drop_quic_to(&transfer.sending, RECEIVER),
        }
        transfer.complete();
    });
}
