//! Measures emulated lines by datagrams and by TCP, from processes at both ends, so that what is
//! measured over them can be believed.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use p2pshare::proto::Role;

use super::{
    cases::Case,
    line::Shape,
    place::{Kind, Place},
    process::{Running, wait_for_all},
    tcp,
};

/// Bytes of a datagram, and of what is around it.
const DATAGRAM: usize = 1200;
const HEADERS: usize = 28;

/// How long the line is filled.
const TIME: Duration = Duration::from_secs(3);

/// How long the last datagrams may take.
const LINGER: Duration = Duration::from_millis(500);

/// Datagrams that are answered, and the first byte of those that are, and of those that ask how
/// many came.
const ECHOES: u32 = 50;
const ECHO: u8 = 1;
const COUNT: u8 = 2;

/// Checks the lines of these cases.
pub(crate) fn check(cases: &[Case]) {
    let mut checked: Vec<Shape> = Vec::new();
    for case in cases {
        if let Kind::Line(shape) = case.place
            && !checked.contains(&shape)
        {
            println!("{}", case.place);
            checked.push(shape);
            match Place::new(case.place, 1) {
                Ok(place) => check_one(&place, shape),
                Err(why) => println!("  left out: {why}"),
            }
        }
    }
}

fn check_one(place: &Place, shape: Shape) {
    datagrams(place, shape);
    stream(place, shape);
    place.line.iter().for_each(|line| println!("  {}", line.told()));
}

fn datagrams(place: &Place, shape: Shape) {
    let listen = format!("{}:0", place.address(Role::Receiver));
    let mut answerer = Running::start(place.own(Role::Receiver, &["answer", &listen]));
    let address = answerer.wait_for(tcp::address).expect("it listens");
    let rate = shape.rate.to_string();
    let mut prober = Running::start(place.own(Role::Sender, &["probe", &address, &rate]));
    wait_for_all(&mut [&mut prober], Instant::now() + Duration::from_secs(30));
    let (_, _, said) = prober.end();
    said.iter().for_each(|line| println!("  {}", line.text));
}

fn stream(place: &Place, shape: Shape) {
    let listen = format!("{}:0", place.address(Role::Receiver));
    let bytes = shape.rate / 8 * TIME.as_secs();
    let mut receiver = Running::start(place.own(Role::Receiver, &["tcp-receive", &listen]));
    let address = receiver.wait_for(tcp::address).expect("it listens");
    let started = Instant::now();
    let send = ["tcp-send", &address, &bytes.to_string()];
    let mut sender = Running::start(place.own(Role::Sender, &send));
    let until = started + Duration::from_secs(30);
    let finished = wait_for_all(&mut [&mut sender, &mut receiver], until);
    let rate = bytes as f64 * 8.0 / started.elapsed().as_secs_f64() / 1e6;
    println!("  one TCP connection: {}{rate:.1} Mbit/s", if finished { "" } else { "less than " });
}

/// The child that is measured with.
pub(crate) fn answer(listen: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(listen)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(8 * 1024 * 1024)?;
    println!("listening at {}", socket.local_addr()?);
    let (mut buffer, mut count, mut first, mut last) = ([0; 2048], 0_u64, None, Instant::now());
    loop {
        let (_, from) = socket.recv_from(&mut buffer)?;
        match buffer[0] {
            ECHO => drop(socket.send_to(&buffer[..HEADERS], from)?),
            COUNT => {
                let time = last - first.unwrap_or(last);
                let time = u64::try_from(time.as_nanos()).expect("it is seconds");
                let told = [count.to_be_bytes(), time.to_be_bytes()].concat();
                socket.send_to(&told, from)?;
                (count, first) = (0, None);
            }
            _ => {
                count += 1;
                last = Instant::now();
                first.get_or_insert(last);
            }
        }
    }
}

/// The child that measures.
pub(crate) fn probe(to: SocketAddr, rate: u64) -> io::Result<()> {
    let socket = UdpSocket::bind((if to.is_ipv4() { "0.0.0.0" } else { "::" }, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    echoes(&socket)?;
    let (sent, came, _) = fill(&socket, rate / 2)?;
    let lost = 100.0 - came as f64 / sent as f64 * 100.0;
    println!("half full: {lost:.2} % of {sent} lost");
    let (sent, came, time) = fill(&socket, rate + rate / 4)?;
    let bits = came.saturating_sub(1) * 8 * (DATAGRAM + HEADERS) as u64;
    let through = bits as f64 / time.as_secs_f64() / 1e6;
    println!("over full: {through:.1} Mbit/s came through, {came} of {sent} datagrams");
    Ok(())
}

fn echoes(socket: &UdpSocket) -> io::Result<()> {
    let mut times = Vec::new();
    for _ in 0..ECHOES {
        let started = Instant::now();
        socket.send(&[ECHO; HEADERS])?;
        // One may be lost.
        if socket.recv(&mut [0; 2048]).is_ok() {
            times.push(started.elapsed());
        }
        thread::sleep(Duration::from_millis(5));
    }
    times.sort();
    let milliseconds = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let [least, middle, most] =
        [times.first(), times.get(times.len() / 2), times.last()].map(milliseconds);
    println!("round trip: {least:.2} / {middle:.2} / {most:.2} ms (least, median, most)");
    Ok(())
}

/// Sends at a rate; how many were sent and came, and over how long they came.
fn fill(socket: &UdpSocket, rate: u64) -> io::Result<(u64, u64, Duration)> {
    let datagram = [0; DATAGRAM];
    let each = Duration::from_nanos((DATAGRAM + HEADERS) as u64 * 8_000_000_000 / rate);
    let (started, mut sent) = (Instant::now(), 0_u32);
    while started.elapsed() < TIME {
        // What the machine cannot keep up with is not caught up for ever.
        let due = started.elapsed().min(TIME);
        while each * sent <= due {
            socket.send(&datagram)?;
            sent += 1;
        }
        thread::sleep(Duration::from_micros(200));
    }
    thread::sleep(LINGER);
    let mut told = [0; 16];
    loop {
        socket.send(&[COUNT; HEADERS])?;
        // Question or answer may be lost, and then it is asked again.
        if let Ok(16) = socket.recv(&mut told) {
            break;
        }
    }
    let [count, time] = [&told[..8], &told[8..]]
        .map(|number| u64::from_be_bytes(number.try_into().expect("it is eight bytes")));
    Ok((u64::from(sent), count, Duration::from_nanos(time)))
}
