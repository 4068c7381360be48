//! Somebody outside who answers what devices call.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::Value;

use crate::harness::TIMEOUT;

/// A webhook; what it was asked can be read from it.
pub(super) struct Webhook {
    address: SocketAddr,
    asked: Receiver<Value>,
}

impl Webhook {
    /// One that gives this answer to everything; none: it takes the question and stays silent.
    pub(super) fn answering(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (told, asked) = channel();
        // It ends with the process: it waits for connections, and nobody else knows the port.
        thread::spawn(move || serve(&listener, answer, &told));
        Self { address, asked }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/rpc", self.address)
    }

    /// The next question.
    #[track_caller]
    pub(super) fn asked(&self) -> Value {
        self.asked.recv_timeout(TIMEOUT).expect("the webhook is asked")
    }
}

fn serve(listener: &TcpListener, answer: Option<&str>, told: &Sender<Value>) {
    let mut silent = Vec::new();
    while let Ok((mut stream, _)) = listener.accept() {
        if told.send(question(&stream)).is_err() {
            return;
        }
        match answer {
            Some(text) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    text.len()
                );
                stream.write_all(format!("{head}{text}").as_bytes()).ok();
            }
            None => silent.push(stream),
        }
    }
}

fn question(stream: &TcpStream) -> Value {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head");
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    serde_json::from_slice(&body).expect("the question is JSON")
}
