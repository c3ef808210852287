//! Events as JSON, one object a line: `v` is the version of their form, `event` says which.

use p2pshare::{Complete, Event, Offer, Path, Progress, Question, Told};
use serde_json::{Value, json};

/// The form of all objects.
const VERSION: u32 = 1;

/// An event.
pub(crate) fn event(event: &Event) -> Value {
    match event {
        Event::ServerUnreachable { server, error } => {
            of("server-unreachable", &json!({ "server": server, "error": error }))
        }
        Event::Unportable { name, why } => {
            of("unportable", &json!({ "name": name.as_str(), "why": why }))
        }
        Event::NoDiscovery(error) => of("no-discovery", &json!({ "error": error })),
        Event::Code(invitation) => of(
            "code",
            &json!({ "code": invitation.code, "at": invitation.at, "server": invitation.server }),
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
    json!({ "name": offer.name.as_str(), "bytes": offer.size })
}

fn progressed(progress: &Progress) -> Value {
    let seconds_left = progress.left.map(|left| left.as_secs_f64());
    json!({
        "bytes": progress.done,
        "total": progress.total,
        "bytes_per_second": progress.rate.round(),
        "seconds_left": seconds_left,
    })
}

fn completed(complete: &Complete) -> Value {
    json!({
        "name": complete.name.as_str(),
        "path": complete.path.as_ref().map(|path| path.to_string_lossy()),
        "bytes": complete.size,
        "digest": complete.digest.to_string(),
        "seconds": complete.took.as_secs_f64(),
    })
}
