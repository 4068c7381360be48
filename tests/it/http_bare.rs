//! HTTP as nobody's library writes it: the device API and the live feeds answer what can be answered, and stay up.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::harness::{Server, TIMEOUT, eventually};

/// Everything that comes back for these bytes, until the server ends the connection.
fn told(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.http()).expect("the server listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
    stream.write_all(bytes).expect("the server takes it");
    let mut answer = Vec::new();
    // A reset in place of an end is an end too.
    let _end = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

#[track_caller]
fn check(server: &Server, bytes: &[u8], status: &str) {
    let told = told(server, bytes);
    let shown: String = String::from_utf8_lossy(bytes).chars().take(120).collect();
    assert_eq!(told.split(' ').nth(1), Some(status), "{shown:?}: {told:?}");
}

#[test]
fn odd_requests_get_an_answer() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let path = "/api/v1/thermo/telemetry";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (headers, body, status) in [
        ("Content-Length: 7\r\n", &b"{\"a\":1}"[..], "200"),
        (chunked, b"4\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\n\r\n", "200"),
        (chunked, b"2\r\n{}\r\n0\r\nx: y\r\n\r\n", "200"),
        (chunked, b"2\r\n{}\r\nzz\r\n", "400"),
        (chunked, b"0\r\n\r\n", "400"),
        ("", b"", "400"),
        ("Content-Length: -1\r\n", b"", "400"),
        ("Content-Length: 2\r\nContent-Length: 3\r\n", b"{} ", "400"),
        ("Content-Length: 18446744073709551616\r\n", b"", "400"),
        ("Content-Length: 2\r\nX: a\0b\r\n", b"{}", "400"),
        ("Content-Length: 2\r\nContent-Encoding: gzip\r\n", b"\x1f\x8b", "400"),
    ] {
        check(&server, &request("POST", path, headers, body), status);
    }
    for (size, status) in [(65_535, "200"), (65_536, "200"), (65_537, "413")] {
        let mut body = vec![b' '; size];
        body[0..2].copy_from_slice(b"{}");
        check(&server, &request("POST", path, &format!("Content-Length: {size}\r\n"), &body), status);
    }
    check(&server, format!("POST {path} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes(), "200");
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
        check(&server, &request(method, path, "", b""), "405");
    }
    for token in ["%00", "thermo%00", "thermo%2F", "thermo%", "..", "", "thermo%20", &"t".repeat(60_000)] {
        let path = format!("/api/v1/{token}/telemetry");
        check(&server, &request("POST", &path, "Content-Length: 2\r\n", b"{}"), "401");
    }
    check(&server, &request("POST", "/api/v1/t%68ermo/telemetry", "Content-Length: 2\r\n", b"{}"), "200");
    check(&server, &request("POST", path, &"X: y\r\n".repeat(200), b""), "431");
    check(&server, &request("GET", "/api/ws", "", b""), "400");
}

#[test]
fn whoever_asks_before_sending_too_much_is_spared_the_trouble() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let path = "/api/v1/thermo/telemetry";
    let expecting = |length: usize| format!("Expect: 100-continue\r\nContent-Length: {length}\r\n");
    check(&server, &request("POST", path, &expecting(65_537), b""), "413");
    let taken = told(&server, &request("POST", path, &expecting(2), b"{}"));
    assert!(taken.starts_with("HTTP/1.1 100 ") && taken.contains("HTTP/1.1 200 "), "{taken}");
}

#[test]
fn a_thousand_connections_that_wait_leave_room_for_others() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let open = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.http()).expect("the server listens");
        stream.write_all(bytes).expect("the server takes it");
        stream
    };
    let post = request("POST", "/api/v1/thermo/telemetry", "Content-Length: 2\r\n", b"{}");
    let poll = request("GET", "/api/v1/thermo/rpc", "", b"");
    let socket = b"GET /api/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let waiting: Vec<TcpStream> = (0..1_000)
        .map(|number| match number % 4 {
            // Nothing, half a head, half a body, and what waits for an answer.
            0 => open(b""),
            1 => open(&post[..30]),
            2 => open(&post[..post.len() - 1]),
            _ => open(if number % 8 == 3 { &poll } else { socket }),
        })
        .collect();
    // Many requests on one connection, which are answered in their order.
    let one = b"POST /api/v1/thermo/telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
    let mut many = one.repeat(300);
    many.extend(&post);
    assert_eq!(told(&server, &many).matches("HTTP/1.1 200 ").count(), 301);
    assert_eq!(server.rest().latest("thermo")["a"], 1);
    for stream in &waiting {
        // Some have been answered, and are gone.
        stream.shutdown(Shutdown::Both).ok();
    }
    eventually("nobody waits any more", || {
        (server.metrics().value("wireglot_http_device_polls", &[]) < 0.5).then_some(())
    });
}
