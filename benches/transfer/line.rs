//! A line between two namespaces, emulated in user space: a rate with a queue before it that drops
//! what does not fit, random loss, and a delay. (`tc netem` does the same where a kernel has it.)
//!
//! One thread reads packets from two TUN devices, works out when each reaches the other end, and
//! writes it there at that time. A round of its loop takes what has come meanwhile, so that at
//! high rates packets come in small bursts, as from a network card.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::Write,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, SyncDevice};

use super::namespace::{Namespace, on, unused_name};

/// The longest packet: that of Ethernet.
const MTU: u16 = 1500;

/// Packets that the kernel holds until they are read; what is lost is to be lost here.
const KERNEL_QUEUE: u32 = 10_000;

/// While packets are under way it is looked this often for what has come, and what is due.
const ROUND: Duration = Duration::from_micros(50);

/// The longest wait for a packet, after which it is looked whether the line is to end.
const IDLE: Duration = Duration::from_millis(50);

/// Packets that are read or written in one go, before the other direction has its turn.
const BATCH: usize = 256;

/// What a line is like, in each direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    /// There and back.
    pub(crate) round_trip: Duration,
    /// Bits a second, counted on IP packets.
    pub(crate) rate: u64,
    /// Bytes that wait for the rate at most.
    pub(crate) queue: u64,
    /// The share of packets that are lost on the way, each by itself.
    pub(crate) loss: f64,
}

impl Shape {
    /// What there is of the rate for a file, in bytes a second, if headers took nothing.
    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.rate as f64 / 8.0
    }
}

/// A line that stands; it is gone when it is dropped.
pub(crate) struct Line {
    over: Arc<AtomicBool>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
    /// The processors do not halt while this is open: one of a virtual machine may take
    /// milliseconds to come back, which is not what a line does.
    _awake: Option<File>,
}

/// What happened to packets, in both directions.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    carried: AtomicU64,
    dropped: AtomicU64,
    lost: AtomicU64,
    /// Packets that were delivered later than they were due, by more than a millisecond.
    late: AtomicU64,
}

impl Line {
    /// Joins two namespaces, which get a device with an address each.
    pub(crate) fn new(shape: Shape, seed: u64, ends: [(&Namespace, &str); 2]) -> Self {
        let devices = ends.map(|(namespace, address)| device(namespace, address));
        let (over, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let emulator = Emulator {
            devices,
            directions: [0, 1].map(|way| Direction::new(shape, seed * 2 + way)),
            over: over.clone(),
            counts: counts.clone(),
            buffer: vec![0; usize::from(MTU)],
        };
        let thread = thread::spawn(move || emulator.run());
        Self { over, counts, thread: Some(thread), _awake: stay_awake() }
    }

    /// Says what happened so far.
    pub(crate) fn told(&self) -> String {
        let Counts { carried, dropped, lost, late } = &*self.counts;
        let [carried, dropped, lost, late] =
            [carried, dropped, lost, late].map(|count| count.load(Ordering::Relaxed));
        format!("{carried} packets carried, {dropped} dropped, {lost} lost, {late} late")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| {
            let _ = thread.join();
        });
    }
}

fn stay_awake() -> Option<File> {
    let mut file = OpenOptions::new().write(true).open("/dev/cpu_dma_latency").ok()?;
    file.write_all(&0_i32.to_ne_bytes()).ok()?;
    Some(file)
}

/// A device that was made here and is moved there: it stays attached to this process.
fn device(namespace: &Namespace, address: &str) -> SyncDevice {
    let name = unused_name();
    let device = DeviceBuilder::new().name(&name).mtu(MTU).tx_queue_len(KERNEL_QUEUE);
    let device = device.build_sync().expect("whoever makes namespaces may make devices");
    device.set_nonblocking(true).expect("a device can be read without waiting");
    Namespace::take(namespace, &name);
    on(namespace, &["addr", "add", &format!("{address}/24"), "dev", &name]);
    on(namespace, &["link", "set", &name, "up"]);
    device
}

/// What the thread owns.
struct Emulator {
    devices: [SyncDevice; 2],
    directions: [Direction; 2],
    over: Arc<AtomicBool>,
    counts: Arc<Counts>,
    buffer: Vec<u8>,
}

impl Emulator {
    fn run(mut self) {
        go_first();
        while !self.over.load(Ordering::Relaxed) {
            let mut more = false;
            for way in [0, 1] {
                more |= self.read(way);
                more |= self.write(way);
            }
            if !more {
                self.wait();
            }
        }
    }

    /// Takes what has come into one end; whether there may be more.
    fn read(&mut self, way: usize) -> bool {
        let (device, direction) = (&self.devices[way], &mut self.directions[way]);
        let now = Instant::now();
        for _ in 0..BATCH {
            let Ok(length) = device.recv(&mut self.buffer) else { return false };
            direction.admit(&self.buffer[..length], now, &self.counts);
        }
        true
    }

    /// Hands out what is due at the other end; whether there may be more.
    fn write(&mut self, way: usize) -> bool {
        let (device, direction) = (&self.devices[1 - way], &mut self.directions[way]);
        let now = Instant::now();
        for _ in 0..BATCH {
            let Some(packet) = direction.due(now, &self.counts) else { return false };
            // A device that is being taken away takes no more.
            let _ = device.send(&packet);
            direction.spare.push(packet);
        }
        true
    }

    /// A moment while packets flow, which are not waited for one by one: waking up for each would
    /// cost more than all else. Otherwise until one comes.
    fn wait(&self) {
        if self.directions.iter().any(|direction| !direction.under_way.is_empty()) {
            return thread::sleep(ROUND);
        }
        let mut devices = self.devices.each_ref().map(|device| PollFd::new(device, PollFlags::IN));
        let idle = Timespec::try_from(IDLE).expect("it is short");
        // A wait that was interrupted is only a short one.
        let _ = poll(&mut devices, Some(&idle));
    }
}

/// The thread has something to do only now and then, but then at once. Where that is not allowed
/// it is in time only while the machine has nothing else to do.
fn go_first() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let asked = Command::new("chrt").args(["--rr", "--pid", "10", &thread]).output();
    if !asked.is_ok_and(|output| output.status.success()) {
        super::note("the emulated line is not scheduled before others: packets may be late");
    }
}

/// One direction of the line.
struct Direction {
    shape: Shape,
    dice: Dice,
    /// When everything that waits has left for the line.
    free: Instant,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

impl Direction {
    fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            dice: Dice(seed),
            free: Instant::now(),
            under_way: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// A packet comes to the queue.
    fn admit(&mut self, packet: &[u8], now: Instant, counts: &Counts) {
        let start = self.free.max(now);
        let waiting = self.bytes_in(start - now);
        if waiting + packet.len() as u64 > self.shape.queue {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // What is lost has used its time on the line.
        self.free = start + self.time_of(packet.len());
        if self.dice.below_one() < self.shape.loss {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(packet);
        self.under_way.push_back((self.free + self.shape.round_trip / 2, copy));
    }

    /// The next packet that is due.
    fn due(&mut self, now: Instant, counts: &Counts) -> Option<Vec<u8>> {
        self.under_way.front().filter(|(at, _)| *at <= now)?;
        let (at, packet) = self.under_way.pop_front()?;
        counts.carried.fetch_add(1, Ordering::Relaxed);
        if now - at > Duration::from_millis(1) {
            counts.late.fetch_add(1, Ordering::Relaxed);
        }
        Some(packet)
    }

    fn time_of(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 8_000_000_000 / self.shape.rate)
    }

    fn bytes_in(&self, time: Duration) -> u64 {
        let bits = time.as_nanos() * u128::from(self.shape.rate) / 1_000_000_000;
        u64::try_from(bits / 8).expect("no queue lasts for years")
    }
}

/// Numbers that look random (splitmix64), the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below_one(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // 53 bits are what a number below one holds exactly.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}
