//! A listener of the live trace, over a bare socket: it reads exactly when the story says so.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::wait::TIMEOUT;

/// One connection to `/api/trace`. Nothing is read before it is asked for.
pub(crate) struct Trace(BufReader<TcpStream>);

impl Trace {
    /// Returns when the server listens on behalf of this client: it has answered.
    pub(super) fn listen(address: SocketAddr, token: &str, query: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
        let request =
            format!("GET /api/trace?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut trace = Self(BufReader::new(stream));
        assert_eq!(trace.line(), "HTTP/1.1 200 OK");
        while !trace.line().is_empty() {}
        trace
    }

    /// The next event and what it says.
    pub(crate) fn next(&mut self) -> (String, Value) {
        let mut event = String::new();
        loop {
            let line = self.line();
            if let Some(name) = line.strip_prefix("event:") {
                name.trim().clone_into(&mut event);
            } else if let Some(data) = line.strip_prefix("data:") {
                return (event, serde_json::from_str(data.trim()).expect("the data is JSON"));
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("the next line of the trace");
        assert!(!line.is_empty(), "the trace has ended");
        String::from_utf8(line).expect("UTF-8").trim_end().to_owned()
    }
}
