//! Servers behind proxies and under TLS, and what is said when a proxy or a certificate is in the
//! way.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::harness::{Scene, Server, sha256};

/// A proxy in this process, until that ends.
struct Proxy {
    address: SocketAddr,
    /// How many streams it has opened.
    opened: Arc<AtomicUsize>,
}

impl Proxy {
    /// `agree` reads what a client wants, and answers.
    fn start(agree: fn(&mut TcpStream) -> Option<TcpStream>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        thread::spawn(move || {
            for client in listener.incoming() {
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let mut client = client.unwrap();
                    if let Some(server) = agree(&mut client) {
                        count.fetch_add(1, Ordering::Relaxed);
                        pass_on(&client, &server);
                    }
                });
            }
        });
        Self { address, opened }
    }
}

fn pass_on(client: &TcpStream, server: &TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            // Either end may go away.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        })
    };
    let there = copy(client.try_clone().unwrap(), server.try_clone().unwrap());
    let back = copy(server.try_clone().unwrap(), client.try_clone().unwrap());
    there.join().and(back.join()).unwrap();
}

/// HTTP CONNECT (RFC 9110, section 9.3.6); gives the headers along.
fn asked_by_http(client: &TcpStream) -> Option<(String, String)> {
    let mut lines = BufReader::new(client.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    let headers: Vec<_> = lines.map_while(Result::ok).take_while(|it| !it.is_empty()).collect();
    let target = first.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    Some((target, headers.join("\n")))
}

fn http(client: &mut TcpStream) -> Option<TcpStream> {
    let (target, _) = asked_by_http(client)?;
    let server = TcpStream::connect(target).ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    Some(server)
}

/// Wants the user `me` with the password `secret`.
fn http_with_password(client: &mut TcpStream) -> Option<TcpStream> {
    let (target, headers) = asked_by_http(client)?;
    if !headers.contains("Basic bWU6c2VjcmV0") {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").ok()?;
        return None;
    }
    let server = TcpStream::connect(target).ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    Some(server)
}

/// SOCKS5 without authentication (RFC 1928), to IPv4 addresses.
fn socks(client: &mut TcpStream) -> Option<TcpStream> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).ok()?;
    let mut methods = vec![0; greeting[1].into()];
    client.read_exact(&mut methods).ok()?;
    client.write_all(&[5, 0]).ok()?;
    let mut request = [0; 10];
    client.read_exact(&mut request).ok()?;
    let [5, 1, 0, 1, a, b, c, d, high, low] = request else { return None };
    let target = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])));
    let server = TcpStream::connect(target).ok()?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    Some(server)
}

/// A transfer in which the receiver knows a proxy; gives how many streams that opened.
fn through(proxy: &Proxy, url: &str) -> usize {
    let (scene, server) = (Scene::new(), Server::start());
    let file = scene.file("a.bin", 100_000);
    let mut sender = scene.send(&server, &file).start();
    let receiver = scene.receive(&server, &sender.code()).arg("--proxy").arg(url);
    receiver.start().finish().expect(0);
    sender.finish().expect(0);
    assert_eq!(sha256(&scene.receiver().join("a.bin")), sha256(&file));
    proxy.opened.load(Ordering::Relaxed)
}

#[test]
fn rendezvous_and_relay_are_reached_through_an_http_proxy() {
    let proxy = Proxy::start(http);
    assert!(through(&proxy, &format!("http://{}", proxy.address)) >= 2);
}

#[test]
fn rendezvous_and_relay_are_reached_through_a_socks_proxy() {
    let proxy = Proxy::start(socks);
    assert!(through(&proxy, &format!("socks5://{}", proxy.address)) >= 2);
}

#[test]
fn a_proxy_gets_the_password_that_it_wants() {
    let proxy = Proxy::start(http_with_password);
    assert!(through(&proxy, &format!("http://me:secret@{}", proxy.address)) >= 2);
}

/// A receiver that does not get to its server; gives what it is told to do.
fn stopped(arguments: &[&str]) -> String {
    let (scene, server) = (Scene::new(), Server::start());
    let code = "7-albatross-ambulance-asparagus";
    let receiver = scene.receive(&server, code);
    let receiver = arguments.iter().fold(receiver, |start, argument| start.arg(argument));
    let error = receiver.start().finish().expect(3).event("error");
    format!("{} {}", error["message"], error["hint"])
}

#[test]
fn a_proxy_that_wants_a_password_is_an_error_that_says_so() {
    let proxy = Proxy::start(http_with_password);
    let said = stopped(&["--proxy", &format!("http://{}", proxy.address)]);
    assert!(said.contains("authorization required") && said.contains("user:password@"), "{said}");
    let wrong = stopped(&["--proxy", &format!("http://me:wrong@{}", proxy.address)]);
    assert!(!wrong.contains("wrong"), "the password is shown: {wrong}");
}

#[test]
fn a_proxy_that_is_not_there_is_an_error_that_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for scheme in ["http", "socks5"] {
        let said = stopped(&["--proxy", &format!("{scheme}://{address}")]);
        assert!(said.contains(&address) && said.contains("--proxy none"), "{said}");
    }
}

#[test]
fn a_server_of_a_private_authority_is_trusted_when_that_is_named_and_not_else() {
    let scene = Scene::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let [certificate, key] =
        ["certificate.pem", "key.pem"].map(|name| scene.sender().with_file_name(name));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let server = Server::start_with(&["--tls-cert", certificate, "--tls-key", key]);
    let url = server.url().replace("ws://", "wss://");
    let file = scene.file("a.bin", 100_000);
    let file = file.to_str().unwrap();

    let code = "7-albatross-ambulance-asparagus";
    let arguments = ["--json", "--server", &url, "receive", "-y", code];
    let error = scene.p2pshare(&scene.receiver(), &arguments).start().finish().expect(3);
    let hint = error.event("error")["hint"].to_string();
    assert!(hint.contains("--tls-ca"), "{hint}");

    let common = ["--json", "--server", &url, "--tls-ca", certificate];
    let sender = scene.p2pshare(&scene.sender(), &[&common[..], &["send", file]].concat());
    let mut sender = sender.start();
    let code = sender.code();
    let arguments = [&common[..], &["receive", "-y", &code]].concat();
    scene.p2pshare(&scene.receiver(), &arguments).start().finish().expect(0);
    sender.finish().expect(0);
}

#[test]
fn a_file_that_holds_no_certificate_is_a_usage_error() {
    let scene = Scene::new();
    let file = scene.file("a.bin", 10);
    let file = file.to_str().unwrap();
    let arguments = ["--json", "--tls-ca", file, "send", file];
    let ended = scene.p2pshare(&scene.sender(), &arguments).start().finish().expect(2);
    assert!(ended.event("error")["message"].to_string().contains("certificate"));
}
