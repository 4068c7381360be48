//! A device that speaks HTTP over a socket of its own: one connection, kept alive, and requests as the story writes them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::wait::TIMEOUT;

/// A connection of a device, which its token names.
pub(crate) struct HttpDevice {
    stream: TcpStream,
    token: String,
}

/// What came back.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl HttpDevice {
    pub(super) fn connect(address: SocketAddr, token: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
        stream.set_write_timeout(Some(TIMEOUT)).expect("an open socket");
        stream.set_nodelay(true).expect("an open socket");
        Self { stream, token: token.to_owned() }
    }

    /// Sends a request for what lies behind the token; the answer is asked for apart.
    pub(crate) fn send(&mut self, method: &str, rest: &str, headers: &str, body: &[u8]) {
        let head = format!(
            "{method} /api/v1/{}/{rest} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        self.stream.write_all(&[head.as_bytes(), body].concat()).expect("the server takes it");
    }

    /// The next answer on this connection.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> HttpAnswer {
        let mut read = Vec::new();
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.read(&mut read);
        };
        let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
        let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.map_or(0, |length| length.trim().parse().expect("a number"));
        while read.len() < end + 4 + length {
            self.read(&mut read);
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        HttpAnswer { status, head, body: read.split_off(end + 4) }
    }

    #[track_caller]
    fn read(&mut self, into: &mut Vec<u8>) {
        let mut more = [0; 65_536];
        let count = self.stream.read(&mut more).expect("the server answers");
        assert!(
            count > 0,
            "the connection ended in the middle of an answer: {:?}",
            String::from_utf8_lossy(into)
        );
        into.extend_from_slice(&more[..count]);
    }

    /// A request and its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, rest: &str, body: impl AsRef<[u8]>) -> HttpAnswer {
        self.send(method, rest, "", body.as_ref());
        self.answer()
    }

    #[track_caller]
    pub(crate) fn post(&mut self, rest: &str, body: impl AsRef<[u8]>) -> HttpAnswer {
        self.ask("POST", rest, body)
    }

    #[track_caller]
    pub(crate) fn get(&mut self, rest: &str) -> HttpAnswer {
        self.ask("GET", rest, b"")
    }

    /// Posts what has to be taken.
    #[track_caller]
    pub(crate) fn tell(&mut self, rest: &str, body: impl AsRef<[u8]>) {
        let answer = self.post(rest, body);
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{rest}");
    }
}

impl HttpAnswer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error}", self.text()))
    }

    /// The value of a header; its name in lower case.
    pub(crate) fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    }
}
