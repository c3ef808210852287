//! Between SDP, which the library speaks, and descriptions, which travel.
//!
//! Of the library's own SDP only the few values that matter are taken. SDP for the library is
//! made from one fixed template: no line that a peer wrote reaches the library's parser.

use std::fmt::Write;

use data_encoding::HEXUPPER;

use crate::proto::signal::{
    Candidate, CandidateHost, CandidateKind, Description, LANE_DATA_CHANNEL, Setup,
};

/// The longest SDP that is looked at, in bytes.
const MAX_SDP: usize = 64 * 1024;

/// The longest message that a peer takes when it does not say (RFC 8841, section 6.1), in bytes.
const DEFAULT_MAX_MESSAGE_SIZE: u32 = 65_536;

/// SDP lacks a line that a data channel needs, or has one that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the SDP has no usable line {0}")]
pub struct BadSdp(&'static str);

/// Takes what matters from an offer or answer.
///
/// # Errors
/// [`BadSdp`] names the line that is missing or makes no sense.
pub fn parse(sdp: &str) -> Result<Description, BadSdp> {
    if sdp.len() > MAX_SDP {
        return Err(BadSdp("(too long)"));
    }
    let value = |name: &'static str| {
        let find = |line: &'_ str| {
            line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':').map(str::to_owned)
        };
        sdp.lines().find_map(find).ok_or(BadSdp(name))
    };
    let number = |name| value(name).map(|text| text.parse::<u32>().map_err(|_| BadSdp(name)));
    Ok(Description {
        ufrag: value("ice-ufrag")?.as_str().try_into().map_err(|_| BadSdp("ice-ufrag"))?,
        password: value("ice-pwd")?.as_str().try_into().map_err(|_| BadSdp("ice-pwd"))?,
        fingerprint: fingerprint(&value("fingerprint")?).ok_or(BadSdp("fingerprint"))?,
        setup: setup(&value("setup")?).ok_or(BadSdp("setup"))?,
        max_message_size: number("max-message-size").unwrap_or(Ok(DEFAULT_MAX_MESSAGE_SIZE))?,
        sctp_port: value("sctp-port")?.parse().map_err(|_| BadSdp("sctp-port"))?,
        lanes: vec![LANE_DATA_CHANNEL],
        quic: None,
    })
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let (algorithm, digits) = text.split_once(' ')?;
    let digits = digits.trim().replace(':', "").to_uppercase();
    let bytes = HEXUPPER.decode(digits.as_bytes()).ok()?;
    algorithm.eq_ignore_ascii_case("sha-256").then(|| bytes.try_into().ok())?
}

fn setup(text: &str) -> Option<Setup> {
    match text.trim() {
        "actpass" => Some(Setup::ActPass),
        "active" => Some(Setup::Active),
        "passive" => Some(Setup::Passive),
        _ => None,
    }
}

/// Makes the SDP of a description.
#[must_use]
pub fn render(description: &Description) -> String {
    let digits: Vec<_> = description.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
    let setup = match description.setup {
        Setup::ActPass => "actpass",
        Setup::Active => "active",
        Setup::Passive => "passive",
    };
    let Description { ufrag, password, max_message_size, sctp_port, .. } = description;
    [
        "v=0".to_owned(),
        "o=- 1 1 IN IP4 0.0.0.0".to_owned(),
        "s=-".to_owned(),
        "t=0 0".to_owned(),
        "a=group:BUNDLE 0".to_owned(),
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel".to_owned(),
        "c=IN IP4 0.0.0.0".to_owned(),
        format!("a=ice-ufrag:{}", ufrag.as_str()),
        format!("a=ice-pwd:{}", password.as_str()),
        "a=ice-options:trickle".to_owned(),
        format!("a=fingerprint:sha-256 {}", digits.join(":")),
        format!("a=setup:{setup}"),
        "a=mid:0".to_owned(),
        "a=sendrecv".to_owned(),
        format!("a=sctp-port:{sctp_port}"),
        format!("a=max-message-size:{max_message_size}"),
        String::new(),
    ]
    .join("\r\n")
}

/// Makes the candidate line of a candidate (RFC 8839, section 5.1), without `a=`.
#[must_use]
pub fn render_candidate(candidate: &Candidate) -> String {
    let Candidate { foundation, priority, host, port, kind } = candidate;
    let (kind, related) = match kind {
        CandidateKind::Host => ("host", None),
        CandidateKind::ServerReflexive => ("srflx", Some(unspecified(host))),
        CandidateKind::PeerReflexive => ("prflx", Some(unspecified(host))),
        CandidateKind::Relay => ("relay", Some(unspecified(host))),
    };
    let foundation = foundation.as_str();
    let mut line = format!("candidate:{foundation} 1 udp {priority} {host} {port} typ {kind}");
    if let Some(address) = related {
        // The related address is nobody's business; a line without one does not parse.
        let _ = write!(line, " raddr {address} rport 9");
    }
    line
}

fn unspecified(host: &CandidateHost) -> &'static str {
    match host {
        CandidateHost::Address(address) if address.is_ipv6() => "::",
        _ => "0.0.0.0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:\
                               00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

    fn sdp() -> String {
        format!(
            "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 {FINGERPRINT}\r\n\
             a=setup:actpass\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n"
        )
    }

    #[test]
    fn a_description_survives_its_template() {
        let description = parse(&sdp()).unwrap();
        assert_eq!(description.max_message_size, 262_144);
        assert_eq!(parse(&render(&description)), Ok(description));
    }

    #[test]
    fn a_missing_or_senseless_line_is_named() {
        for name in ["ice-ufrag", "ice-pwd", "fingerprint", "setup", "sctp-port"] {
            let lines: Vec<_> = sdp().lines().map(str::to_owned).collect();
            let without: Vec<_> = lines.into_iter().filter(|line| !line.contains(name)).collect();
            assert_eq!(parse(&without.join("\r\n")), Err(BadSdp(name)));
        }
        assert_eq!(parse(&sdp().replace("sha-256", "sha-1")), Err(BadSdp("fingerprint")));
        assert_eq!(parse(&sdp().replace(":EE:FF:00", ":EE:00")), Err(BadSdp("fingerprint")));
        assert_eq!(parse(&sdp().replace("262144", "-1")), Err(BadSdp("max-message-size")));
        assert_eq!(parse(&"a".repeat(MAX_SDP + 1)), Err(BadSdp("(too long)")));
    }

    #[test]
    fn candidate_lines_say_what_the_library_needs() {
        let candidate = Candidate {
            foundation: "f1".try_into().unwrap(),
            priority: 7,
            host: "10.0.0.1".try_into().unwrap(),
            port: 9,
            kind: CandidateKind::Host,
        };
        assert_eq!(render_candidate(&candidate), "candidate:f1 1 udp 7 10.0.0.1 9 typ host");
        let relay = Candidate {
            host: "2001:db8::1".try_into().unwrap(),
            kind: CandidateKind::Relay,
            ..candidate
        };
        assert_eq!(
            render_candidate(&relay),
            "candidate:f1 1 udp 7 2001:db8::1 9 typ relay raddr :: rport 9"
        );
    }
}
