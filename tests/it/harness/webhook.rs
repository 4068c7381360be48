//! An HTTP service that answers as a test wants, down to the bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// What a question gets.
pub(crate) enum Reply {
    /// A status and a body.
    Whole(u16, Vec<u8>),
    /// These bytes and the end of the connection.
    Raw(Vec<u8>),
    /// Nothing for as long as the test runs.
    Silence,
}

/// A running service.
pub(crate) struct Webhook {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl Webhook {
    /// Serves on a free port until the test is over.
    pub(crate) fn serve(reply: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let webhook = Self { address, asked: asked.clone() };
        let reply = Arc::new(reply);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, reply) = (asked.clone(), reply.clone());
                std::thread::spawn(move || serve(stream, &asked, &*reply));
            }
        });
        webhook
    }

    /// Where it is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Question> {
        self.asked.lock().expect("no test panics with it").clone()
    }
}

fn serve(stream: TcpStream, asked: &Mutex<Vec<Question>>, reply: &dyn Fn(&Question) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().expect("an open socket"));
    while let Some(question) = read(&mut reader) {
        asked.lock().expect("no test panics with it").push(question.clone());
        let bytes = match reply(&question) {
            Reply::Whole(status, body) => {
                let head = format!("HTTP/1.1 {status} Any\r\nContent-Length: {}\r\n\r\n", body.len());
                [head.into_bytes(), body].concat()
            }
            Reply::Raw(bytes) => {
                (&stream).write_all(&bytes).ok();
                return;
            }
            Reply::Silence => {
                // Until the peer gives up.
                read(&mut reader);
                return;
            }
        };
        if (&stream).write_all(&bytes).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Question> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if head.get(before..).is_none_or(|line| line.trim().is_empty()) {
            break;
        }
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")).expect("a length");
    let mut body = vec![0; length.trim().parse().expect("a number")];
    reader.read_exact(&mut body).ok()?;
    Some(Question { head, body: serde_json::from_slice(&body).expect("a question is JSON") })
}
