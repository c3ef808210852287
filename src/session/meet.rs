//! From a code to a peer that has proved to know it, and keys that only the two have.
//!
//! The sender waits in a slot: at the configured server, or at one of its own that it announces
//! on the LAN. The receiver goes where its code says. Every PAKE run uses a code up.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use p2pshare_signal::protocol::{DEFAULT_PORT, Nameplate, Presence, Refusal, RoomId};
use rand_core::{CryptoRng, Rng, UnwrapErr};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, interval, sleep_until, timeout},
};

use super::event::{Event, Front, Link, Shown};
use crate::{
    error::Error,
    net::{
        dial::Dialer,
        discovery::{self, Announcement, Endpoint},
        embedded::Embedded,
        interfaces,
        network::{Network, Routes},
        rendezvous::{
            Address, Claimed, Connection, RendezvousError, Room, RoomEvent, ServerUrl, Slot,
        },
    },
    proto::{
        code::{Code, Invitation, Password, Place},
        pairing::{Claiming, Message, PairingError, Waiting},
        pake::Keys,
    },
};

/// How long the other end may take for each of the first messages.
const PAIRING: Duration = Duration::from_secs(15);

/// When a receiver that still looks for its sender on the LAN says so.
const HINT_AFTER: Duration = Duration::from_secs(5);

/// When it gives up.
const SEARCH: Duration = Duration::from_secs(30);

/// How long it goes on looking for another sender after a wrong code.
const AFTER_WRONG_CODE: Duration = Duration::from_secs(2);

/// PAKE runs of one receiver, each with another sender of the same nameplate.
const MOST_RUNS: usize = 3;

/// How often it knocks at the ports of its own machine.
const KNOCK_EVERY: Duration = Duration::from_secs(1);

/// Largest numbers of nameplates, tried in turn while those drawn are taken.
const NAMEPLATES: [u32; 6] = [99, 999, 9_999, 99_999, 999_999, 9_999_999];

/// The operating system's generator; it does not fail on any system that works at all.
pub(super) fn random() -> impl CryptoRng {
    UnwrapErr(getrandom::SysRng)
}

/// Two ends that know each other.
#[derive(Debug)]
pub struct Paired {
    /// What both derived.
    pub keys: Keys,
    /// Where they talk.
    pub room: Room,
    /// How they may be connected.
    pub routes: Routes,
    /// The server that the room is of.
    pub address: Address,
    /// Whether that is in the sender's process.
    pub embedded: bool,
}

/// What a sender's code is to be.
#[derive(Clone, Debug)]
pub struct Wish {
    /// A code chosen by the user.
    pub code: Option<Code>,
    /// Words of one that is not.
    pub words: usize,
    /// How long it waits.
    pub ttl: Duration,
}

/// Where a sender waits.
#[derive(Debug)]
pub enum Host {
    /// At the configured server.
    Server(ServerUrl),
    /// At its own.
    Lan(Embedded),
}

impl Host {
    /// Chooses: the configured server when it answers, else this LAN.
    ///
    /// # Errors
    /// [`Error::Embedded`] when no server can be started.
    pub async fn choose(
        server: Option<&ServerUrl>,
        dialer: &Dialer,
        front: &Front,
    ) -> Result<Self, Error> {
        if let Some(url) = server {
            match Connection::open(Address::Server(url.clone()), dialer).await {
                Ok(_) => return Ok(Self::Server(url.clone())),
                Err(error) => front.tell(Event::ServerUnreachable {
                    server: url.to_string(),
                    error: error.to_string(),
                }),
            }
        }
        Embedded::start().map(Self::Lan).map_err(Error::Embedded)
    }

    /// Waits for a receiver that knows a code, which is told to the user.
    ///
    /// # Errors
    /// [`Error::WrongCode`] when one came who does not; the code is used up then, too.
    pub async fn pair(
        &self,
        wish: &Wish,
        network: &Network,
        front: &Front,
    ) -> Result<Paired, Error> {
        let opened = front.unless_interrupted(self.open_slot(wish, &network.dialer)).await;
        let (code, waiting, mut slot) = opened?;
        let announcement = self.announce(&code, front);
        front.tell(Event::Code(self.shown(&code)));
        let claimed = front.unless_interrupted(async { Ok(slot.claimed().await?) }).await;
        if let Some(announcement) = announcement {
            announcement.withdraw();
        }
        match claimed {
            Ok(seat) => {
                let room = slot.enter(seat);
                // Not later: relays are asked while the peer proves that it knows the code.
                let routes = network.prepare(room.ice_servers());
                let confirmed = confirm(waiting, room);
                let (keys, room) = front.unless_interrupted(confirmed).await?;
                let (address, embedded) = (self.address(), matches!(self, Self::Lan(_)));
                Ok(Paired { keys, room, routes, address, embedded })
            }
            Err(error) => {
                slot.leave().await;
                Err(error)
            }
        }
    }

    /// Ends what was started here.
    pub async fn close(self) {
        if let Self::Lan(embedded) = self {
            embedded.stop().await;
        }
    }

    fn address(&self) -> Address {
        match self {
            Self::Server(url) => Address::Server(url.clone()),
            Self::Lan(embedded) => Address::Socket(embedded.own_address()),
        }
    }

    async fn open_slot(
        &self,
        wish: &Wish,
        dialer: &Dialer,
    ) -> Result<(Code, Waiting, Slot), Error> {
        let taken = match self {
            Self::Lan(_) if wish.code.is_none() => discovery::announced().await,
            _ => HashSet::new(),
        };
        for most in NAMEPLATES {
            let code = self.code(wish, most);
            if taken.contains(code.nameplate.as_str()) {
                continue;
            }
            match self.allocate(&code, wish.ttl, dialer).await {
                Err(RendezvousError::Refused(Refusal::NameplateTaken)) if wish.code.is_none() => {}
                other => {
                    return other.map(|(waiting, slot)| (code, waiting, slot)).map_err(Error::from);
                }
            }
        }
        Err(RendezvousError::Refused(Refusal::NameplateTaken).into())
    }

    /// The code wished for, in the form that fits this place, or a new one.
    fn code(&self, wish: &Wish, most: u32) -> Code {
        let number = match &wish.code {
            Some(code) => code.nameplate.as_str().trim_start_matches("lan").to_owned(),
            None => (random().next_u32() % most + 1).to_string(),
        };
        let prefix = if matches!(self, Self::Lan(_)) { "lan" } else { "" };
        let nameplate = format!("{prefix}{number}").parse().expect("a number of at most 7 digits");
        let password = match &wish.code {
            Some(code) => code.password.clone(),
            None => Password::generate(wish.words, &mut self::random()),
        };
        Code { nameplate, password }
    }

    async fn allocate(
        &self,
        code: &Code,
        ttl: Duration,
        dialer: &Dialer,
    ) -> Result<(Waiting, Slot), RendezvousError> {
        let mut name = [0; 16];
        random().fill_bytes(&mut name);
        let name = RoomId::from_128_bits(name);
        let waiting = Waiting::new(code, name.as_str().to_owned(), &mut random());
        let nameplate = server_nameplate(code);
        let share = waiting.share().to_wire();
        let connection = Connection::open(self.address(), dialer).await?;
        Ok((waiting, connection.allocate(name, nameplate, ttl, share).await?))
    }

    fn announce(&self, code: &Code, front: &Front) -> Option<Announcement> {
        let Self::Lan(embedded) = self else { return None };
        let announced = Announcement::start(code.nameplate.as_str(), embedded.port());
        announced.map_err(|error| front.tell(Event::NoDiscovery(error.to_string()))).ok()
    }

    fn shown(&self, code: &Code) -> Shown {
        let (at, server, page) = match self {
            Self::Lan(embedded) => {
                let at = interfaces::contact(embedded.port());
                (at.clone(), None, at.map(|at| (format!("http://{at}"), true)))
            }
            Self::Server(url) => (None, Some(url.to_string()), Some((url.page(), !url.is_here()))),
        };
        let code = code.reveal();
        let link = page
            .map(|(page, is_for_others)| Link { url: format!("{page}/#{code}"), is_for_others });
        Shown { code, at, server, link }
    }
}

/// The two crates' nameplates have one form.
fn server_nameplate(code: &Code) -> Nameplate {
    Nameplate::try_from(code.nameplate.to_string()).expect("checked when the code was parsed")
}

/// The sender's side of the first three messages. Whoever goes away or makes no sense before it
/// has proved to know the words counts as a wrong guess.
async fn confirm(waiting: Waiting, mut room: Room) -> Result<(Keys, Room), Error> {
    let Ok(Some(reply)) = timeout(PAIRING, message(&mut room)).await else {
        room.leave().await;
        return Err(Error::WrongCode);
    };
    let confirmed = Message::from_wire(&reply)
        .map_err(PairingError::from)
        .and_then(|reply| waiting.confirm(room.id().as_str(), &reply));
    match confirmed {
        Ok((confirmation, keys)) => {
            room.say(confirmation.to_wire());
            Ok((keys, room))
        }
        Err(error) => {
            room.leave().await;
            Err(error.into())
        }
    }
}

/// The next message in a room; `None` when the other end is gone.
async fn message(room: &mut Room) -> Option<Vec<u8>> {
    loop {
        match room.next().await {
            RoomEvent::Message(message) => return Some(message),
            RoomEvent::Peer(Presence::Here) => {}
            RoomEvent::Peer(Presence::Gone | Presence::Left) | RoomEvent::Lost => return None,
        }
    }
}

/// The receiver's way to the sender of a code.
///
/// # Errors
/// [`Error`] when there is no such sender, no way to look for it, or the code is wrong.
pub async fn find(
    invitation: &Invitation,
    server: Option<&ServerUrl>,
    network: &Network,
    front: &Front,
) -> Result<Paired, Error> {
    let code = &invitation.code;
    let address = match (&invitation.place, server) {
        (Place::Host { host, port }, _) => {
            Address::Host { host: host.clone(), port: port.unwrap_or(DEFAULT_PORT) }
        }
        (Place::Link(link), _) => Address::Server(link.parse().map_err(|error| {
            Error::Usage(format!("The link does not lead to a server: {error}"))
        })?),
        (Place::Unsaid, _) if code.nameplate.is_lan() => return search(code, network, front).await,
        (Place::Unsaid, Some(server)) => Address::Server(server.clone()),
        (Place::Unsaid, None) => {
            return Err(Error::Usage(
                "This code is one of a server, and none is configured: say which with --server"
                    .to_owned(),
            ));
        }
    };
    let connection = Connection::open(address.clone(), &network.dialer).await?;
    let claimed = connection.claim(&server_nameplate(code)).await?;
    let routes = network.prepare(claimed.room.ice_servers());
    let (keys, room) = prove(claimed, code).await?;
    Ok(Paired { keys, room, routes, address, embedded: code.nameplate.is_lan() })
}

/// The receiver's side of the first three messages. Whoever is at the other end gets one guess
/// out of it, whatever the outcome.
async fn prove(claimed: Claimed, code: &Code) -> Result<(Keys, Room), Error> {
    let mut room = claimed.room;
    let replied =
        Message::from_wire(&claimed.share).map_err(PairingError::from).and_then(|share| {
            Claiming::reply(code, claimed.slot.as_str(), room.id().as_str(), &share, &mut random())
        });
    let (reply, claiming) = match replied {
        Ok(replied) => replied,
        Err(error) => {
            room.leave().await;
            return Err(error.into());
        }
    };
    room.say(reply.to_wire());
    match confirmed(&mut room, claiming).await {
        Ok(keys) => Ok((keys, room)),
        Err(error) => {
            room.leave().await;
            Err(error)
        }
    }
}

async fn confirmed(room: &mut Room, claiming: Claiming) -> Result<Keys, Error> {
    let answer = async {
        loop {
            match room.next().await {
                RoomEvent::Message(message) => break Ok(message),
                RoomEvent::Peer(Presence::Here) => {}
                // That is what a sender does who was shown a wrong code.
                RoomEvent::Peer(Presence::Left) => break Err(Error::WrongCode),
                RoomEvent::Peer(Presence::Gone) | RoomEvent::Lost => {
                    break Err(Error::PeerVanished);
                }
            }
        }
    };
    let answer = timeout(PAIRING, answer).await.unwrap_or(Err(Error::PeerVanished))?;
    let confirmation = Message::from_wire(&answer).map_err(PairingError::from)?;
    Ok(claiming.confirmed(&confirmation)?)
}

/// Looks for the sender of a `lan` code on this machine and this LAN.
async fn search(code: &Code, network: &Network, front: &Front) -> Result<Paired, Error> {
    front.tell(Event::Searching);
    let mut search = discovery::search(code.nameplate.to_string());
    if let Err(error) = &search.discovery {
        front.tell(Event::NoDiscovery(error.to_string()));
    }
    let mut knock = interval(KNOCK_EVERY);
    let mut doors = Doors::default();
    let mut failure = None;
    let hint = Instant::now() + HINT_AFTER;
    let mut end = Instant::now() + SEARCH;
    let mut hinted = false;
    loop {
        tokio::select! {
            Some(endpoint) = search.endpoints.recv() => doors.knock(&endpoint),
            _ = knock.tick() => discovery::on_this_machine().iter().for_each(|e| doors.knock(e)),
            Some((address, connection)) = doors.opened() => {
                let Ok(claimed) = connection.claim(&server_nameplate(code)).await else { continue };
                doors.spend(address);
                match prove(claimed, code).await {
                    Ok((keys, room)) => {
                        let address = Address::Socket(address);
                        let routes = network.prepare(room.ice_servers());
                        return Ok(Paired { keys, room, routes, address, embedded: true });
                    }
                    Err(error) if doors.spent() == MOST_RUNS => return Err(error),
                    Err(error) => failure = Some(error),
                }
                end = end.min(Instant::now() + AFTER_WRONG_CODE);
            }
            () = sleep_until(hint), if !hinted => {
                hinted = true;
                front.tell(Event::StillSearching);
            }
            () = sleep_until(end) => return Err(failure.unwrap_or(Error::NotOnLan)),
        }
    }
}

/// Connections to senders that may be the right one, opened side by side.
struct Doors {
    opening: JoinSet<()>,
    under_way: HashSet<SocketAddr>,
    /// Those that a PAKE was run with: each gets one.
    spent: HashSet<SocketAddr>,
    open: mpsc::UnboundedSender<(SocketAddr, Option<Connection>)>,
    opened: mpsc::UnboundedReceiver<(SocketAddr, Option<Connection>)>,
}

impl Default for Doors {
    fn default() -> Self {
        // As many entries as connections are under way, which are few.
        let (open, opened) = mpsc::unbounded_channel();
        Self {
            opening: JoinSet::new(),
            under_way: HashSet::new(),
            spent: HashSet::new(),
            open,
            opened,
        }
    }
}

impl Doors {
    fn knock(&mut self, endpoint: &Endpoint) {
        for address in endpoint.addresses.iter().copied() {
            if !self.spent.contains(&address) && self.under_way.insert(address) {
                let open = self.open.clone();
                self.opening.spawn(async move {
                    let address_there = Address::Socket(address);
                    let connection = Connection::open(address_there, &Dialer::default()).await;
                    // The search may be over.
                    let _ = open.send((address, connection.ok()));
                });
            }
        }
    }

    fn spend(&mut self, address: SocketAddr) {
        self.spent.insert(address);
    }

    fn spent(&self) -> usize {
        self.spent.len()
    }

    /// The next connection that stands, and where to.
    async fn opened(&mut self) -> Option<(SocketAddr, Connection)> {
        loop {
            let (address, connection) = self.opened.recv().await?;
            self.under_way.remove(&address);
            if let Some(connection) = connection {
                return Some((address, connection));
            }
        }
    }
}
