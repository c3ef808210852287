//! A rendezvous server that is not to be trusted: it stands before a real one, sees every
//! message, and does with them what the test says.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex},
};

use data_encoding::BASE64;
use futures_util::{SinkExt, StreamExt};
use p2pshare::proto::Role;
use p2pshare_signal::protocol::PATH;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_tungstenite::{WebSocketStream, accept_async, connect_async, tungstenite::Message};

use crate::{
    harness::{PATIENCE, Server},
    rogue::runtime,
};

/// Where a message is on its way to, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server, from the end with this role.
    From(Role),
    /// From the server, to the end with this role.
    To(Role),
}

/// What becomes of a message: those that travel on instead, none to drop it.
pub(crate) type Becomes = Vec<(Way, Message)>;

type Meddle = Box<dyn FnMut(Way, &Value) -> Option<Becomes> + Send>;

/// The server in the middle.
pub(crate) struct Middle {
    _runtime: Runtime,
    address: String,
    state: Arc<State>,
}

struct State {
    server: String,
    meddle: Mutex<Meddle>,
    /// Where messages of a way can be put.
    ways: Mutex<Vec<(Way, UnboundedSender<Message>)>>,
    /// Whose place a token opens.
    tokens: Mutex<HashMap<String, Role>>,
    record: Mutex<Vec<(Way, Value)>>,
    recorded: Condvar,
}

impl Middle {
    /// Stands before a server. `meddle` says what becomes of a message, `None` to let it pass.
    pub(crate) fn start(
        server: &Server,
        meddle: impl FnMut(Way, &Value) -> Option<Becomes> + Send + 'static,
    ) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            server: format!("{}{PATH}", server.url()),
            meddle: Mutex::new(Box::new(meddle)),
            ways: Mutex::default(),
            tokens: Mutex::default(),
            record: Mutex::default(),
            recorded: Condvar::new(),
        });
        runtime.spawn(listen(listener, state.clone()));
        Self { _runtime: runtime, address, state }
    }

    /// One that only looks.
    pub(crate) fn honest(server: &Server) -> Self {
        Self::start(server, |_, _| None)
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Waits until the record is as a test wants it.
    pub(crate) fn wait_for(&self, wanted: impl Fn(&[(Way, Value)]) -> bool) {
        let record = self.state.record.lock().unwrap();
        let not_yet = |record: &mut Vec<(Way, Value)>| !wanted(record);
        let (record, waited) =
            self.state.recorded.wait_timeout_while(record, PATIENCE, not_yet).unwrap();
        assert!(!waited.timed_out(), "{record:#?}");
    }

    /// Every message so far, as it arrived here.
    pub(crate) fn record(&self) -> Vec<(Way, Value)> {
        self.state.record.lock().unwrap().clone()
    }
}

async fn listen(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            // An end may go away at any time.
            let Ok(client) = accept_async(stream).await else { return };
            let (server, _) = connect_async(state.server.clone()).await.unwrap();
            serve(client, server, &state).await;
        });
    }
}

/// Passes messages on until one side closes, which closes the other.
async fn serve<S>(client: WebSocketStream<TcpStream>, server: WebSocketStream<S>, state: &State)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let ((to_client, mut from_client), (to_server, mut from_server)) =
        (client.split(), server.split());
    let ((say_client, client_queue), (say_server, server_queue)) =
        (unbounded_channel(), unbounded_channel());
    let mut whose = None;
    let listening = async {
        loop {
            let (is_request, message) = tokio::select! {
                message = from_client.next() => (true, message),
                message = from_server.next() => (false, message),
            };
            let Some(Ok(message)) = message else { return };
            let Message::Text(text) = &message else { continue };
            let Ok(value) = serde_json::from_str::<Value>(text) else { continue };
            if whose.is_none() && is_request {
                whose = state.whose(&value);
                whose.inspect(|role| state.open(*role, &say_server, &say_client));
            }
            let Some(role) = whose else { continue };
            let way = if is_request { Way::From(role) } else { Way::To(role) };
            state.passes(way, message, value);
        }
    };
    tokio::select! {
        () = listening => {}
        () = write(to_client, client_queue) => {}
        () = write(to_server, server_queue) => {}
    }
}

async fn write(mut sink: impl SinkExt<Message> + Unpin, mut queue: UnboundedReceiver<Message>) {
    while let Some(message) = queue.recv().await {
        let closes = matches!(message, Message::Close(_));
        if sink.send(message).await.is_err() || closes {
            return;
        }
    }
}

impl State {
    /// Whose socket it is, by what is asked on it first.
    fn whose(&self, request: &Value) -> Option<Role> {
        match request["type"].as_str()? {
            "allocate" => Some(Role::Sender),
            "claim" => Some(Role::Receiver),
            _ => self.tokens.lock().unwrap().get(request["token"].as_str()?).copied(),
        }
    }

    fn open(
        &self,
        role: Role,
        server: &UnboundedSender<Message>,
        client: &UnboundedSender<Message>,
    ) {
        let mut ways = self.ways.lock().unwrap();
        ways.push((Way::From(role), server.clone()));
        ways.push((Way::To(role), client.clone()));
    }

    fn passes(&self, way: Way, message: Message, value: Value) {
        if let (Way::To(role), Some(token)) = (way, value["token"].as_str()) {
            self.tokens.lock().unwrap().insert(token.to_owned(), role);
        }
        let becomes = (self.meddle.lock().unwrap())(way, &value);
        self.record.lock().unwrap().push((way, value));
        self.recorded.notify_all();
        let ways = self.ways.lock().unwrap();
        for (way, message) in becomes.unwrap_or_else(|| vec![(way, message)]) {
            // The latest socket of an end counts; when that is gone, the message is lost.
            if let Some((_, queue)) = ways.iter().rev().find(|(to, _)| *to == way) {
                let _ = queue.send(message);
            }
        }
    }
}

/// A message that holds a value.
pub(crate) fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

/// The body that a message carries.
pub(crate) fn body(value: &Value) -> Option<Vec<u8>> {
    Some(BASE64.decode(value["body"].as_str()?.as_bytes()).unwrap())
}

/// The message with another body.
pub(crate) fn with_body(value: &Value, body: &[u8]) -> Value {
    let mut value = value.clone();
    value["body"] = BASE64.encode(body).into();
    value
}
