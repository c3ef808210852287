//! Events as JSON, one object a line: `v` is the version of their form, `event` says which.

use p2pshare::{
    Complete, Event, Finding, Left, Offer, Over, Path, Progress, Question, Sample, Stage, Told,
    Verdict,
};
use serde_json::{Value, json};

/// The form of all objects.
const VERSION: u32 = 1;

/// An event.
pub(crate) fn event(event: &Event) -> Value {
    match event {
        Event::ServerUnreachable { server, error } => {
            of("server-unreachable", &json!({ "server": server, "error": error }))
        }
        Event::Unportable { name, why } => of("unportable", &json!({ "name": name, "why": why })),
        Event::LeftOut { path, why } => {
            of("left-out", &json!({ "path": path.to_string_lossy(), "why": why }))
        }
        Event::Withdrawn { path, why } => of("withdrawn", &json!({ "path": path, "why": why })),
        Event::Reconnecting(patience) => {
            of("reconnecting", &json!({ "patience": patience.as_secs() }))
        }
        Event::Resuming => of("resuming", &json!({})),
        Event::Listing(entries) => {
            let entry = |(path, bytes): &(p2pshare::RelPath, Option<u64>)| json!({ "path": path.as_str(), "bytes": bytes });
            let entries: Vec<_> = entries.iter().map(entry).collect();
            of("listing", &json!({ "entries": entries }))
        }
        Event::Text(text) => of("text", &json!({ "text": String::from_utf8_lossy(text) })),
        Event::NoDiscovery(error) => of("no-discovery", &json!({ "error": error })),
        Event::Code(invitation) => of(
            "code",
            &json!({
                "code": invitation.code,
                "at": invitation.at,
                "server": invitation.server,
                "link": invitation.link.as_ref().map(|link| &link.url),
            }),
        ),
        Event::WrongCode => of("wrong-code", &json!({})),
        Event::Searching => of("searching", &json!({})),
        Event::StillSearching => of("still-searching", &json!({})),
        Event::Connecting => of("connecting", &json!({})),
        Event::Connected(way) => of("connected", &json!({ "path": path(*way) })),
        Event::Verifier(words) => of("verifier", &json!({ "words": words })),
        Event::Question(Question::Accept(offer), _) => of("accept?", &offered(offer)),
        Event::Question(Question::SameWords, _) => of("same-words?", &json!({})),
        Event::Offer(offer) => of("offer", &offered(offer)),
        Event::Progress(progress) => of("progress", &progressed(progress)),
        Event::Finishing => of("finishing", &json!({})),
        Event::Complete(complete) => of("complete", &completed(complete)),
    }
}

/// The end of a session that failed.
pub(crate) fn error(told: &Told) -> Value {
    of("error", &json!({ "message": told.sentence, "hint": told.hint, "exit": told.exit }))
}

fn of(name: &str, fields: &Value) -> Value {
    let mut object = json!({ "v": VERSION, "event": name });
    if let (Some(object), Some(fields)) = (object.as_object_mut(), fields.as_object()) {
        object.extend(fields.clone());
    }
    object
}

fn path(path: Path) -> &'static str {
    match path {
        Path::Lan => "lan",
        Path::Direct => "direct",
        Path::Relay => "relay",
    }
}

fn offered(offer: &Offer) -> Value {
    json!({
        "name": offer.names.first(),
        "names": offer.names,
        "items": offer.items,
        "files": offer.files,
        "folders": offer.folders,
        "bytes": if offer.is_stream { Value::Null } else { offer.bytes.into() },
        "kind": kind(offer),
        "hidden": sample(&offer.hidden),
        "executable": sample(&offer.executable),
        "unportable": sample(&offer.unportable),
        "existing": offer.existing,
        "free": offer.free,
        "held": offer.held,
    })
}

fn kind(offer: &Offer) -> &'static str {
    match offer {
        Offer { is_text: true, .. } => "text",
        Offer { is_stream: true, .. } => "stream",
        _ => "files",
    }
}

fn sample(sample: &Sample) -> Value {
    json!({ "count": sample.count, "paths": sample.paths })
}

/// What was found out about the network.
pub(crate) fn finding(finding: &Finding) -> Value {
    let verdict = match finding.verdict {
        Verdict::Good => "good",
        Verdict::Fair => "fair",
        Verdict::Bad => "bad",
    };
    of(
        "finding",
        &json!({
            "about": finding.about,
            "verdict": verdict,
            "message": finding.sentence,
            "advice": finding.advice,
        }),
    )
}

/// What a stage of a transfer does alone.
pub(crate) fn stage(stage: &Stage) -> Value {
    of("stage", &json!({ "name": stage.name, "bytes_per_second": stage.rate }))
}

/// What an interrupted transfer has left.
pub(crate) fn left(left: &Left) -> Value {
    of(
        "left",
        &json!({
            "path": left.path.to_string_lossy(),
            "items": left.items,
            "bytes": left.bytes,
            "nameplate": left.session.as_ref().map(|session| &session.nameplate),
            "started": left.session.as_ref().map(|session| session.started),
        }),
    )
}

fn progressed(progress: &Progress) -> Value {
    let seconds_left = progress.left.map(|left| left.as_secs_f64());
    json!({
        "bytes": progress.done,
        "total": progress.total,
        "bytes_per_second": progress.rate.round(),
        "seconds_left": seconds_left,
        "limited_by": progress.limit.map(|limit| limit.what.word()),
        "limited_at": progress.limit.map(|limit| limit.end.label()),
        "over": over(progress.over),
        "lanes": progress.lanes.map(|lanes| lanes.count),
        "under_way": progress.lanes.map(|lanes| lanes.under_way),
        "window": progress.lanes.map(|lanes| lanes.window),
        "round_trip_seconds": progress.lanes.map(|lanes| lanes.round.as_secs_f64()),
        "packet_bytes": progress.lanes.map(|lanes| lanes.mtu),
        "sent_again": progress.lanes.map(|lanes| lanes.again),
        "packets_sent_again": progress.lanes.map(|lanes| lanes.repaired),
    })
}

fn over(over: Over) -> Vec<&'static str> {
    let kinds = [(over.tls, "tls"), (over.quic, "quic"), (over.data_channels, "data-channel")];
    kinds.into_iter().filter(|(carries, _)| *carries).map(|(_, kind)| kind).collect()
}

fn completed(complete: &Complete) -> Value {
    json!({
        "name": complete.offer.names.first(),
        "path": complete.paths.first().map(|path| path.to_string_lossy()),
        "paths": complete.paths.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "bytes": complete.offer.bytes,
        "files": complete.offer.files,
        "delivered": complete.delivered,
        "declined": complete.declined,
        "existing": complete.existing,
        "bytes_spared": complete.spared,
        "digest": complete.digest.map(|digest| digest.to_string()),
        "seconds": complete.took.as_secs_f64(),
    })
}
