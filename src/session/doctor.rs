//! What will work from here, and what to change: every part of the way to another machine is
//! tried by itself.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use p2pshare_signal::protocol::{IceServer, Nameplate, RoomId};
use rand_core::Rng;

use super::meet::random;
use crate::{
    disk,
    error::Error,
    net::{
        discovery,
        ice::{Carrier, IceServers},
        network::Network,
        probe::{self, Behaviour, Filtering, Mapping},
        rendezvous::{Address, Connection, RendezvousError, ServerUrl},
    },
};

/// How far clocks may be apart.
const SKEW: u64 = 120;

/// How long passwords of relays are good for when they are new; see `PROTOCOL.md`.
const VALIDITY: u64 = 600;

/// How long the slot of this examination is there at the most.
const SLOT: Duration = Duration::from_secs(30);

/// Less free space than this is worth a word, in bytes.
const LITTLE_SPACE: u64 = 1_000_000_000;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Good,
    /// It works in part, or is not known.
    Fair,
    /// It does not work.
    Bad,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which thing, in one word.
    pub about: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// That in a sentence.
    pub sentence: String,
    /// What to do about it.
    pub advice: Option<&'static str>,
}

impl Finding {
    fn new(about: &'static str, verdict: Verdict, sentence: impl Into<String>) -> Self {
        Self { about, verdict, sentence: sentence.into(), advice: None }
    }

    fn advise(self, advice: &'static str) -> Self {
        Self { advice: Some(advice), ..self }
    }
}

/// Examines everything; each finding is told as soon as there is one.
///
/// # Errors
/// The server's, when one is configured and does not do its part.
pub async fn doctor(
    server: Option<&ServerUrl>,
    network: &Network,
    mut tell: impl FnMut(Finding),
) -> Result<(), Error> {
    tell(lan());
    tell(space(disk::free_space(Path::new("."))));
    tell(ipv6(probe::has_ipv6().await));
    let Some(url) = server else {
        tell(Finding::new("server", Verdict::Fair, "No server is configured.").advise(
            "both ends must be on one network; between networks, name a server with --server",
        ));
        return Ok(());
    };
    let address = Address::Server(url.clone());
    let named = match servers(&address, network).await {
        Ok(named) => named,
        Err(error) => {
            tell(Finding::new("server", Verdict::Bad, format!("{url} does not do its part.")));
            return Err(error.into());
        }
    };
    tell(Finding::new("server", Verdict::Good, format!("{url} answers.")));
    if let Some(skew) = skew(&named) {
        tell(clock(skew));
    }
    let servers = IceServers::new(&named, &network.ice);
    let behaviour = match servers.stun.first() {
        Some(stun) => probe::behaviour(stun).await,
        None => None,
    };
    tell(udp(behaviour.as_ref(), !servers.stun.is_empty()));
    behaviour.iter().for_each(|behaviour| tell(nat(behaviour)));
    let relays = probe::relays(&servers.turn, &network.dialer).await;
    for (carrier, answers) in &relays {
        tell(relay(*carrier, *answers));
    }
    tell(outlook(behaviour.as_ref(), relays.iter().any(|(_, answers)| *answers)));
    Ok(())
}

/// The STUN and TURN servers that a pair is told of: both ends of one are here for a moment.
async fn servers(address: &Address, network: &Network) -> Result<Vec<IceServer>, RendezvousError> {
    let mut name = [0; 16];
    random().fill_bytes(&mut name);
    let number = 9_000_000 + random().next_u32() % 1_000_000;
    let nameplate = Nameplate::try_from(number.to_string()).expect("a number of seven digits");
    let waiting = Connection::open(address.clone(), &network.dialer).await?;
    let slot =
        waiting.allocate(RoomId::from_128_bits(name), nameplate.clone(), SLOT, Vec::new()).await?;
    let claiming = Connection::open(address.clone(), &network.dialer).await?;
    let claimed = claiming.claim(&nameplate).await?;
    let named = claimed.room.ice_servers().to_vec();
    tokio::join!(claimed.room.leave(), slot.leave());
    Ok(named)
}

fn lan() -> Finding {
    match discovery::works() {
        Ok(()) => Finding::new("lan", Verdict::Good, "Senders on this network can be found."),
        Err(error) => Finding::new("lan", Verdict::Bad, format!("{error}."))
            .advise("type the code with @host:port as the sender shows it"),
    }
}

fn space(free: Option<u64>) -> Finding {
    match free {
        Some(free) if free < LITTLE_SPACE => {
            let sentence = format!("{} MB are free here.", free / 1_000_000);
            Finding::new("space", Verdict::Fair, sentence).advise("receive elsewhere with -o")
        }
        Some(free) => Finding::new(
            "space",
            Verdict::Good,
            format!("{} GB are free here.", free / 1_000_000_000),
        ),
        None => Finding::new("space", Verdict::Fair, "How much is free here is not known."),
    }
}

fn ipv6(has: bool) -> Finding {
    if has {
        Finding::new("ipv6", Verdict::Good, "There is a way to the IPv6 internet.")
    } else {
        Finding::new("ipv6", Verdict::Fair, "There is no way to the IPv6 internet.")
    }
}

/// How far this machine's clock is from the server's, in seconds, as far as passwords tell.
fn skew(named: &[IceServer]) -> Option<i64> {
    let username = named.iter().find_map(|server| server.username.as_deref())?;
    let expires: u64 = username.split(':').next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let made = expires.checked_sub(VALIDITY)?;
    i64::try_from(now).ok()?.checked_sub_unsigned(made)
}

fn clock(skew: i64) -> Finding {
    if skew.unsigned_abs() <= SKEW {
        return Finding::new("clock", Verdict::Good, "The clock agrees with the server's.");
    }
    let (seconds, side) = (skew.unsigned_abs(), if skew > 0 { "ahead of" } else { "behind" });
    let sentence = format!("The clock is {seconds} s {side} the server's.");
    Finding::new("clock", Verdict::Fair, sentence)
        .advise("set the clocks: certificates are checked against them")
}

fn udp(behaviour: Option<&Behaviour>, was_asked: bool) -> Finding {
    match behaviour {
        Some(Behaviour { mapped, .. }) => {
            let sentence = format!("UDP comes through; the world sees this machine as {mapped}.");
            Finding::new("udp", Verdict::Good, sentence)
        }
        None if was_asked => {
            Finding::new("udp", Verdict::Bad, "UDP does not come through to the server.")
                .advise("direct paths need it; without it data goes through the relay")
        }
        None => Finding::new("udp", Verdict::Fair, "The server names no STUN server to ask."),
    }
}

fn nat(behaviour: &Behaviour) -> Finding {
    let filtering = match behaviour.filtering {
        Filtering::EndpointIndependent => "lets everybody in",
        Filtering::AddressDependent => "lets in whom something was sent to",
        Filtering::AddressAndPortDependent => "lets in only answers",
        Filtering::Unknown => "is not known to let anybody in",
    };
    match behaviour.mapping {
        Mapping::None => {
            let sentence = format!("There is no NAT; what stands before this machine {filtering}.");
            Finding::new("nat", Verdict::Good, sentence)
        }
        Mapping::EndpointIndependent => {
            let sentence = format!("The NAT keeps one address for all, and {filtering}.");
            Finding::new("nat", Verdict::Good, sentence)
        }
        Mapping::Dependent => {
            let sentence = format!("The NAT has another address for everybody, and {filtering}.");
            Finding::new("nat", Verdict::Fair, sentence).advise(
                "direct paths lead only to machines without such a NAT; a router with UPnP or a \
                 public address does better",
            )
        }
        Mapping::Unknown => {
            Finding::new("nat", Verdict::Fair, "There is a NAT of an unknown kind.")
                .advise("a server with --second-address can tell which")
        }
    }
}

fn relay(carrier: Carrier, answers: bool) -> Finding {
    let (about, over) = match carrier {
        Carrier::Udp => ("relay-udp", "UDP"),
        Carrier::Tcp => ("relay-tcp", "TCP"),
        Carrier::Tls => ("relay-tls", "TLS"),
    };
    if answers {
        Finding::new(about, Verdict::Good, format!("The relay answers over {over}."))
    } else {
        Finding::new(about, Verdict::Fair, format!("The relay does not answer over {over}."))
    }
}

fn outlook(behaviour: Option<&Behaviour>, has_relay: bool) -> Finding {
    let direct = match behaviour.map(|behaviour| behaviour.mapping) {
        None => "no network directly",
        Some(Mapping::Dependent) => "some networks directly",
        Some(_) => "most networks directly",
    };
    match (behaviour, has_relay) {
        (_, true) => {
            let sentence = format!("Transfers will reach {direct}, and all through the relay.");
            Finding::new("outlook", Verdict::Good, sentence)
        }
        (Some(_), false) => {
            let sentence = format!("Transfers will reach {direct}, and others not at all.");
            Finding::new("outlook", Verdict::Fair, sentence)
                .advise("use a server with a relay: p2pshare-signal without --no-turn")
        }
        (None, false) => {
            Finding::new("outlook", Verdict::Bad, "Transfers will reach this network only.")
                .advise("use a server that listens on port 443 with a certificate, and has a relay")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour(mapping: Mapping) -> Behaviour {
        let mapped = "192.0.2.1:9".parse().unwrap();
        Behaviour { mapped, mapping, filtering: Filtering::AddressAndPortDependent }
    }

    #[test]
    fn the_outlook_follows_from_nat_and_relay() {
        let verdict = |mapping: Option<Mapping>, relay| {
            outlook(mapping.map(behaviour).as_ref(), relay).verdict
        };
        assert_eq!(verdict(Some(Mapping::None), true), Verdict::Good);
        assert_eq!(verdict(None, true), Verdict::Good);
        assert_eq!(verdict(Some(Mapping::Dependent), false), Verdict::Fair);
        assert_eq!(verdict(None, false), Verdict::Bad);
    }

    #[test]
    fn clocks_that_are_minutes_apart_are_told() {
        assert_eq!(clock(-30).verdict, Verdict::Good);
        assert!(clock(4_000).sentence.contains("4000 s ahead"));
        assert!(clock(-4_000).sentence.contains("4000 s behind"));
    }

    #[test]
    fn what_is_not_good_comes_with_advice() {
        for finding in [
            udp(None, true),
            nat(&behaviour(Mapping::Dependent)),
            nat(&behaviour(Mapping::Unknown)),
            outlook(None, false),
            clock(4_000),
            space(Some(1)),
        ] {
            assert!(finding.advice.is_some(), "{finding:?}");
        }
    }
}
