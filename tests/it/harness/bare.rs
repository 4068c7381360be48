//! A request over a bare socket: the story decides how much of it is sent, and when it is given up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::wait::TIMEOUT;

/// A request that is under way. Dropped, its connection is closed.
pub(crate) struct BareRequest(TcpStream);

impl BareRequest {
    /// Posts the head of a request whose body is to have so many bytes.
    pub(super) fn post(address: SocketAddr, token: &str, path: &str, kind: &str, bytes: usize) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
        stream.set_write_timeout(Some(TIMEOUT)).expect("an open socket");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n\
             Content-Length: {bytes}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("a head");
        Self(stream)
    }

    /// Sends a part of the body.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the server takes it");
    }

    /// The status and the body of the answer; the connection ends with it, or says how long it is.
    pub(crate) fn answer(mut self) -> (u16, Value) {
        let mut read = Vec::new();
        let (head, body) = loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && content_length(head).is_none_or(|length| body.len() >= length)
            {
                break (head.to_owned(), body.to_owned());
            }
            let mut more = [0; 4_096];
            let count = self.0.read(&mut more).expect("the server answers");
            assert!(count > 0, "the connection ended in the middle of an answer: {text:?}");
            read.extend_from_slice(&more[..count]);
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), serde_json::from_str(&body).unwrap_or(Value::Null))
    }
}

fn content_length(head: &str) -> Option<usize> {
    let lower = head.to_lowercase();
    let (_, rest) = lower.split_once("content-length:")?;
    rest.lines().next()?.trim().parse().ok()
}
