//! The `p2pshare` command: parse, run, and say how it went.

mod cli;

use std::{num::NonZero, path::Path, process::ExitCode, time::Duration};

use cli::{
    args::{BenchArgs, Cli, Command, General, LogLevel, ReceiveArgs, SendArgs, TransfersCommand},
    config::Config,
    ui::Ui,
};
use p2pshare::{
    Authorities, Complete, Conflict, Consent, Dialer, Error, Event, Front, Interrupt, Invitation,
    Network, Out, ReceiveOptions, Selection, SendOptions, ServerUrl, What, Wish, Wishes,
};
use tokio::sync::{mpsc, watch};
use tracing_subscriber::EnvFilter;

/// The webrtc stack allocates for every packet; this is what it is fastest with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A measurement's code, and how long a lost connection is waited for in one.
const WORDS: usize = 3;
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
const MEASURING_PATIENCE: Duration = Duration::from_secs(30);

/// What may still run when everything is done: a thread that waits for a line.
const SHUTDOWN: Duration = Duration::from_millis(100);

/// Threads that run tasks: half as many as there are processors. Reading, hashing and writing have
/// threads of their own, and a second one on two processors costs more in waking each other, a tenth
/// of the processor time, than it does.
fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    (processors / 2).max(1)
}

fn main() -> ExitCode {
    let cli = Cli::of_process();
    start_log(cli.general.log);
    let mut ui = Ui::new(&cli.general);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let runtime = runtime.expect("the system has threads to give");
    let ended = runtime.block_on(run(cli, &mut ui));
    runtime.shutdown_timeout(SHUTDOWN);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let told = error.told();
            ui.fail(&told);
            ExitCode::from(told.exit)
        }
    }
}

async fn run(cli: Cli, ui: &mut Ui) -> Result<(), Error> {
    let Cli { general, command } = cli;
    match command {
        Command::Send(send) => {
            ui.draw_links(send.draws_links());
            let bwlimit = general.bwlimit;
            let options = send_options(send, bwlimit, reach(general)?)?;
            follow(|front| p2pshare::send(options, front), ui).await
        }
        Command::Receive(receive) => {
            let (json, bwlimit) = (general.json, general.bwlimit);
            let options = receive_options(receive, bwlimit, reach(general)?)?;
            if options.conflict.is_some() {
                ui.do_not_ask_about_conflicts();
            }
            if json && options.out == Out::Pipe {
                return Err(Error::Usage(
                    "--json and -o - both want the standard output".to_owned(),
                ));
            }
            follow(|front| p2pshare::receive(options, front), ui).await
        }
        Command::Bench(bench) if bench.local => {
            p2pshare::bench::stages(Path::new("."), |stage| ui.stage(stage))
        }
        Command::Bench(bench) => measure(bench, general, ui).await,
        Command::Hash(hash) => {
            Ui::data(&p2pshare::digest(&hash.path)?.to_string());
            Ok(())
        }
        Command::Transfers(what) => transfers(what, ui),
        Command::Doctor => {
            let (server, network) = reach(general)?;
            p2pshare::doctor(server.as_ref(), &network, |finding| ui.finding(&finding)).await
        }
    }
}

/// Measures the path: the end without a code sends noise.
async fn measure(args: BenchArgs, general: General, ui: &mut Ui) -> Result<(), Error> {
    let BenchArgs { code, time, connections, .. } = args;
    let bwlimit = general.bwlimit;
    let (server, network) = reach(general)?;
    let (verify, patience) = (false, MEASURING_PATIENCE);
    let Some(invitation) = code else {
        let what = p2pshare::bench::stream(time);
        let wishes = Wishes { connections, bwlimit };
        let wish = Wish { code: None, words: WORDS, ttl: TTL };
        ui.invite_with("bench");
        let options = SendOptions { what, server, wish, verify, patience, network, wishes };
        return follow(|front| p2pshare::send(options, front), ui).await;
    };
    let options = ReceiveOptions {
        invitation,
        server,
        out: Out::Nowhere,
        pipe: p2pshare::bench::nowhere,
        consent: Consent::Given,
        conflict: None,
        only: Vec::new(),
        verify,
        patience,
        network,
        bwlimit,
    };
    follow(|front| p2pshare::receive(options, front), ui).await
}

/// Runs a session and shows its events until it ends.
async fn follow<F>(start: impl FnOnce(Front) -> F, ui: &mut Ui) -> Result<(), Error>
where
    F: Future<Output = Result<Complete, Error>> + Send + 'static,
{
    let (tell, mut events) = mpsc::unbounded_channel::<Event>();
    // On a thread of the runtime, where its tasks need not be woken across threads.
    let session = tokio::spawn(start(Front::new(tell, signals())));
    let show = async {
        while let Some(event) = events.recv().await {
            ui.show(event);
        }
    };
    let (ended, ()) = tokio::join!(session, show);
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map(|_| ())
}

fn transfers(what: TransfersCommand, ui: &mut Ui) -> Result<(), Error> {
    let left = p2pshare::left();
    match what {
        TransfersCommand::List => ui.left(&left),
        TransfersCommand::Discard => {
            left.iter().try_for_each(p2pshare::discard).map_err(Error::Discard)?;
            ui.discarded(&left);
        }
    }
    Ok(())
}

fn send_options(
    args: SendArgs,
    bwlimit: Option<u64>,
    (server, network): (Option<ServerUrl>, Network),
) -> Result<SendOptions, Error> {
    let SendArgs {
        paths,
        text,
        name,
        exclude,
        git,
        code,
        words,
        ttl,
        verify,
        patience,
        connections,
        qr: _,
        no_qr: _,
    } = args;
    let wishes = Wishes { connections, bwlimit };
    let is_input = paths.iter().any(|path| path.as_os_str() == "-");
    let what = match text {
        Some(text) => What::Text(text),
        None if is_input && paths.len() == 1 => What::Stream(name, Ui::input()),
        None if is_input => {
            return Err(Error::Usage("The standard input is sent alone".to_owned()));
        }
        None => What::Paths(Selection { paths, exclude, git }),
    };
    let wish = Wish { code, words: usize::from(words), ttl };
    Ok(SendOptions { what, server, wish, verify, patience, network, wishes })
}

fn receive_options(
    args: ReceiveArgs,
    bwlimit: Option<u64>,
    (server, network): (Option<ServerUrl>, Network),
) -> Result<ReceiveOptions, Error> {
    let invitation = args.code.map_or_else(ask_for_code, Ok)?;
    let consent = match (args.yes, args.dry_run) {
        (_, true) => Consent::OnlyLook,
        (true, _) => Consent::Given,
        _ => Consent::Ask,
    };
    let conflict = match (args.overwrite, args.rename, args.skip) {
        (true, ..) => Some(Conflict::Replace),
        (_, true, _) => Some(Conflict::Rename),
        (.., true) => Some(Conflict::Skip),
        _ => None,
    };
    let out = args.out.unwrap_or(Out::Here);
    let (only, verify, patience) = (args.only, args.verify, args.patience);
    let pipe = Ui::pipe;
    Ok(ReceiveOptions {
        invitation,
        server,
        out,
        pipe,
        consent,
        conflict,
        only,
        verify,
        patience,
        network,
        bwlimit,
    })
}

fn ask_for_code() -> Result<Invitation, Error> {
    let line = Ui::prompt("Code: ").unwrap_or_default();
    Ok(line.parse::<Invitation>()?)
}

/// The server, and what of the network may be used: as the command line says, or else the
/// configuration file.
fn reach(general: General) -> Result<(Option<ServerUrl>, Network), Error> {
    let config = Config::load()?;
    let server = general.server.map_or_else(|| config.server(), |server| Ok(Some(server)))?;
    let proxy = general.proxy.map_or_else(|| config.proxy(), |proxy| Ok(Some(proxy)))?;
    let authorities = match general.tls_ca.or(config.tls_ca()) {
        Some(path) => Authorities::read(&path).map_err(|error| {
            Error::Usage(format!("{} holds no certificate in PEM form: {error}", path.display()))
        })?,
        None => Authorities::default(),
    };
    let dialer = Dialer::new(proxy.as_ref(), authorities);
    let (transport, kinds) = (general.transport.into(), general.lanes.into());
    Ok((server, Network { dialer, transport, ice: general.ice_server, kinds }))
}

/// What the user or the system wants ended. The second time, at once.
fn signals() -> watch::Receiver<Option<Interrupt>> {
    let (say, said) = watch::channel(None);
    // Made here, and not in the task, so that no signal comes before them.
    let mut signals = Signals::new();
    tokio::spawn(async move {
        say.send_replace(Some(signals.next().await));
        signals.next().await;
        end_now();
    });
    said
}

#[expect(clippy::exit, reason = "whoever presses Ctrl-C twice does not want to wait")]
fn end_now() -> ! {
    std::process::exit(130)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let caught = |kind| signal(kind).expect("these signals can be caught");
        Self {
            interrupt: caught(SignalKind::interrupt()),
            terminate: caught(SignalKind::terminate()),
        }
    }

    async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupt::Interrupted,
            _ = self.terminate.recv() => Interrupt::Terminated,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) -> Interrupt {
        // Without a handler there is nothing to wait for.
        let _ = tokio::signal::ctrl_c().await;
        Interrupt::Interrupted
    }
}

/// Only our own crates speak below warnings: the libraries' details include what is secret.
fn start_log(level: Option<LogLevel>) {
    let Some(level) = level else { return };
    let level = format!("{level:?}").to_lowercase();
    let filter = EnvFilter::new(format!("warn,p2pshare={level},p2pshare_signal={level}"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
