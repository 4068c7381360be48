//! The port itself: health, metrics, the live trace and the end, over a real socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use wireglot_bus::Event;
use wireglot_device::ADMINISTRATOR_EMAIL;
use wireglot_model::{DeviceId, Sample, Timestamp, Value};

use super::{PASSWORD, config};
use crate::access::Tokens;
use wireglot_device::now;

async fn send(address: std::net::SocketAddr, request: String) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    send(address, request).await.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_port_serves_until_it_is_asked_to_stop() {
    let (mut config, _folder) = config().await;
    let is_ready = Arc::new(AtomicBool::new(false));
    let asked = is_ready.clone();
    config.ready = Box::new(move || asked.load(Ordering::Relaxed));
    let (devices, bus) = (config.devices.clone(), config.bus.clone());
    let address = config.listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(crate::serve(config, async move { stopped.await.unwrap() }));

    assert!(get(address, "/health").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/ready").await.starts_with("HTTP/1.1 503"));
    is_ready.store(true, Ordering::Relaxed);
    assert!(get(address, "/ready").await.starts_with("HTTP/1.1 200"));
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains("wireglot_http_answers_total{class=\"failed\"} 1\n"), "{metrics}");
    assert!(metrics.contains("# from the host\n"), "{metrics}");

    let user = devices.login(ADMINISTRATOR_EMAIL, PASSWORD).unwrap();
    let tokens = Tokens::new(devices.signing_key(), devices.tenant());
    let token = tokens.issue(&user, uuid::Uuid::new_v4(), now()).unwrap().access;
    let request = format!(
        "GET /api/trace?events=telemetry HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let mut trace = send(address, request).await;
    let mut line = String::new();
    trace.read_line(&mut line).await.unwrap();
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    bus.announce(Event::Telemetry {
        device: DeviceId(uuid::Uuid::nil()),
        device_name: "d".into(),
        profile: "p".into(),
        ts: Timestamp(7),
        codec: None,
        samples: vec![Sample { key: "k".into(), value: Value::Double(42.0) }],
    });
    while !line.starts_with("data:") {
        line.clear();
        trace.read_line(&mut line).await.unwrap();
    }
    let data: serde_json::Value = serde_json::from_str(line.trim_start_matches("data:")).unwrap();
    assert_eq!((&data["deviceName"], data["values"].to_string()), (&"d".into(), "{\"k\":42.0}".to_owned()));

    stop.send(()).unwrap();
    // The trace would go on for ever; the stop ends it.
    let mut rest = String::new();
    trace.read_to_string(&mut rest).await.unwrap();
    serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
