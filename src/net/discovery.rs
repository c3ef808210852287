//! Finding a sender on the LAN: DNS-SD (RFC 6763) over multicast DNS.
//!
//! What is announced is the nameplate, which is public, and an address: nothing made from the
//! words. Instances have random names, so nothing tells who announces.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use data_encoding::HEXLOWER;
use mdns_sd::{
    HostnameResolutionEvent, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::embedded;

/// The service type.
const SERVICE: &str = "_p2pshare._tcp.local.";

/// The TXT key of the nameplate.
const NAMEPLATE: &str = "n";

/// How long a sender listens for the nameplates of others before it picks its own.
const LOOK_AROUND: Duration = Duration::from_millis(150);

/// How long a name may take to resolve.
const RESOLUTION: Duration = Duration::from_secs(2);

/// Endpoints found that wait to be tried.
const QUEUE: usize = 64;

/// Multicast DNS does not work here.
#[derive(Debug, thiserror::Error)]
#[error("LAN discovery does not work on this machine: {0}")]
pub struct NoDiscovery(#[from] mdns_sd::Error);

/// A nameplate on the air, until it is [withdrawn](Announcement::withdraw).
pub struct Announcement {
    daemon: ServiceDaemon,
    full_name: String,
}

impl Announcement {
    /// Announces a nameplate and the port of its rendezvous server, on all interfaces.
    ///
    /// # Errors
    /// [`NoDiscovery`] when multicast DNS does not work.
    pub fn start(nameplate: &str, port: u16) -> Result<Self, NoDiscovery> {
        let daemon = ServiceDaemon::new()?;
        let instance = random_label();
        let host = format!("{instance}.local.");
        let properties = [(NAMEPLATE, nameplate)];
        let info = ServiceInfo::new(SERVICE, &instance, &host, "", port, &properties[..])?;
        let mut info = info.enable_addr_auto();
        // The name is random, so there is nobody to ask whether it is taken; asking takes 0.7 s.
        info.set_requires_probe(false);
        let full_name = info.get_fullname().to_owned();
        daemon.register(info)?;
        Ok(Self { daemon, full_name })
    }

    /// Takes the announcement back. The daemon's thread says goodbye and ends by itself.
    pub fn withdraw(self) {
        let withdrawn = self.daemon.unregister(&self.full_name);
        let ended = self.daemon.shutdown();
        tracing::debug!(withdrawn = withdrawn.is_ok(), ended = ended.is_ok(), "announcement");
    }
}

impl std::fmt::Debug for Announcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Announcement(..)")
    }
}

fn random_label() -> String {
    let mut random = [0; 8];
    // A constant label still works, unless two senders meet.
    let _ = getrandom::fill(&mut random);
    format!("p2pshare-{}", HEXLOWER.encode(&random))
}

/// The addresses behind a name under `.local`, with which browsers hide theirs; none when nobody
/// answers to it within two seconds.
pub async fn resolve(name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let Ok(daemon) = ServiceDaemon::new() else { return found };
    let deadline = Instant::now() + RESOLUTION;
    if let Ok(events) = daemon.resolve_hostname(&format!("{name}."), None) {
        while found.is_empty()
            && let Ok(Ok(event)) = timeout_at(deadline, events.recv_async()).await
        {
            if let HostnameResolutionEvent::AddressesFound(_, addresses) = event {
                found.extend(addresses.iter().map(ScopedIp::to_ip_addr));
            }
        }
    }
    // The daemon's thread ends by itself.
    let _ = daemon.shutdown();
    found
}

/// Whether this machine can take part in multicast DNS at all; whether the network passes it on
/// shows only when somebody is looked for.
///
/// # Errors
/// [`NoDiscovery`].
pub fn works() -> Result<(), NoDiscovery> {
    let daemon = ServiceDaemon::new()?;
    let browsed = daemon.browse(SERVICE);
    // The daemon's thread ends by itself.
    let _ = daemon.shutdown();
    browsed?;
    Ok(())
}

/// The nameplates that others announce at this moment.
pub async fn announced() -> HashSet<String> {
    let mut found = HashSet::new();
    let Ok(daemon) = ServiceDaemon::new() else { return found };
    if let Ok(events) = daemon.browse(SERVICE) {
        let deadline = Instant::now() + LOOK_AROUND;
        while let Ok(Ok(event)) = timeout_at(deadline, events.recv_async()).await {
            if let ServiceEvent::ServiceResolved(service) = event {
                found.extend(nameplate_of(&service).map(str::to_owned));
            }
        }
    }
    // The daemon's thread ends by itself.
    let _ = daemon.shutdown();
    found
}

/// Somewhere a sender may be waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to connect to, in the order to try.
    pub addresses: Vec<SocketAddr>,
}

/// A search for a nameplate; over when it is dropped.
#[derive(Debug)]
pub struct Search {
    /// What was found; endpoints may come again with further addresses.
    pub endpoints: mpsc::Receiver<Endpoint>,
    /// Whether the LAN can be searched.
    pub discovery: Result<(), NoDiscovery>,
}

/// Looks for a nameplate on the LAN.
#[must_use]
pub fn search(nameplate: String) -> Search {
    let (found, endpoints) = mpsc::channel(QUEUE);
    let discovery = browse(nameplate, found);
    Search { endpoints, discovery }
}

/// Where senders of this machine wait, if there are any; needs no network.
#[must_use]
pub fn on_this_machine() -> Vec<Endpoint> {
    let endpoint = |port| Endpoint { addresses: vec![(Ipv4Addr::LOCALHOST, port).into()] };
    embedded::PORTS.map(endpoint).collect()
}

fn browse(nameplate: String, found: mpsc::Sender<Endpoint>) -> Result<(), NoDiscovery> {
    let daemon = ServiceDaemon::new()?;
    let events = daemon.browse(SERVICE)?;
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.recv_async() => event,
                () = found.closed() => break,
            };
            match event {
                Ok(ServiceEvent::ServiceResolved(service)) => {
                    if nameplate_of(&service) == Some(&nameplate) {
                        // The search may be over.
                        let _ = found.send(endpoint_of(&service)).await;
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // The daemon's thread ends by itself.
        let _ = daemon.shutdown();
    });
    Ok(())
}

fn nameplate_of(service: &ResolvedService) -> Option<&str> {
    service.txt_properties.get_property_val_str(NAMEPLATE)
}

fn endpoint_of(service: &ResolvedService) -> Endpoint {
    let mut addresses: Vec<_> =
        service.addresses.iter().map(|address| with_port(address, service.port)).collect();
    // Those that need no zone first.
    addresses.sort_by_key(|address| (is_link_local(address), address.is_ipv6()));
    Endpoint { addresses }
}

fn with_port(address: &ScopedIp, port: u16) -> SocketAddr {
    match address {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index).into()
        }
        address => (address.to_ip_addr(), port).into(),
    }
}

fn is_link_local(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_somebody_answers_to_is_resolved() {
        let name = "0b5e1f0a-6c1d-4f4e-9d5c-3f2a1b0c9d8e.local";
        let daemon = ServiceDaemon::new().unwrap();
        let service = "_p2pshare-test._udp.local.";
        let host = format!("{name}.");
        let info = ServiceInfo::new(service, "test", &host, "192.0.2.7", 9, None).unwrap();
        daemon.register(info).unwrap();
        // The name is its own only after a while of asking whether it is anybody's.
        for _ in 0..20 {
            let found = resolve(name).await;
            if !found.is_empty() {
                assert_eq!(found, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
                let _ = daemon.shutdown();
                return;
            }
        }
        panic!("nobody answers");
    }
}
