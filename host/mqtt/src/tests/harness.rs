//! A server in a folder of its own, and a client that is nothing but a socket.

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wireglot_bus::Bus;
use wireglot_codec::{CodecConfig, CodecTable};
use wireglot_device::{CredentialsDraft, DeviceSpec, Devices, LetterFilter, ProfileDraft};
use wireglot_model::profile::MqttTransport;
use wireglot_model::{
    CodecName, DeadLetter, DeviceId, OnFailure, PayloadKind, Sample, Scope, Timestamp, TransportKind, Value,
};
use wireglot_store::{Store, StoreConfig};

use crate::{ClientRpcConfig, MqttConfig, MqttCounters, MqttRunning, start};

/// Longer than anything that is awaited takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Server {
    running: Option<MqttRunning>,
    pub(super) devices: Devices,
    pub(super) bus: Bus,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with(2)
    }

    pub(super) fn start_with(workers: usize) -> Self {
        Self::start_answering(workers, ClientRpcConfig::without_webhooks())
    }

    /// With somebody who answers calls.
    pub(super) fn start_answering(workers: usize, client_rpc: ClientRpcConfig) -> Self {
        Self::start_in_full(workers, client_rpc, 600)
    }

    pub(super) fn start_as(workers: usize, session_inactivity_s: u16) -> Self {
        Self::start_in_full(workers, ClientRpcConfig::without_webhooks(), session_inactivity_s)
    }

    fn start_in_full(workers: usize, client_rpc: ClientRpcConfig, session_inactivity_s: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("data"), StoreConfig::default()).unwrap();
        let bus = Bus::new();
        let password = Some("not used here".to_owned());
        let (devices, _) = wait(Devices::open(store, bus.clone(), password, Timestamp(0))).unwrap();
        let codecs = CodecTable::open(CodecConfig::new(folder.path(), folder.path().join("codecs"))).unwrap();
        wait(populate(&devices));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = MqttConfig {
            listeners: vec![listener],
            tls: None,
            workers,
            proxy_protocol: false,
            wrong_logins: None,
            client_rpc,
            session_inactivity_s,
            gateway_metrics_s: 60,
            json: wireglot_codec::native::JsonRules::default(),
        };
        let running = start(config, devices.clone(), codecs).unwrap();
        let address = running.local_addrs()[0];
        Self { running: Some(running), devices, bus, address, _folder: folder }
    }

    pub(super) fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    /// A session of the device with this token.
    pub(super) fn connected(&self, version: Version, token: &str) -> Client {
        let mut client = self.client();
        client.send(&connect(version, "", Some(token), None, 60));
        let (kind, body) = client.packet();
        assert_eq!((kind, body[0], body[1]), (0x20, 0, 0), "CONNACK");
        client
    }

    pub(super) fn id(&self, token: &str) -> DeviceId {
        self.devices.device_by_name(token).unwrap().id()
    }

    pub(super) fn latest(&self, token: &str, key: &str) -> Option<Value> {
        let latest = self.devices.latest(self.id(token), None).unwrap();
        latest.into_iter().find(|latest| latest.key == key).map(|latest| latest.value)
    }

    pub(super) fn messages(&self, token: &str) -> usize {
        let all = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        self.devices.messages(self.id(token), all.0, all.1, 100_000).unwrap().len()
    }

    pub(super) fn dead_letters(&self) -> Vec<DeadLetter> {
        self.devices
            .dead_letters(&LetterFilter::default(), None, 100)
            .unwrap()
            .into_iter()
            .map(|(_, letter)| letter)
            .collect()
    }

    pub(super) fn write_shared(&self, token: &str, key: &str, value: i64) {
        let samples = vec![Sample { key: key.into(), value: Value::Long(value) }];
        wait(self.devices.write_attributes(self.id(token), Scope::Shared, samples, Timestamp(1))).unwrap();
    }

    pub(super) fn counters(&self) -> MqttCounters {
        self.running.as_ref().unwrap().meter()()
    }

    /// Waits for a state of the server.
    #[track_caller]
    pub(super) fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < PATIENCE, "{what}: {:?}", self.counters());
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    pub(super) fn stop(&mut self) {
        self.running.take().unwrap().stop();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

async fn populate(devices: &Devices) {
    for (name, on_failure) in [("accept", OnFailure::Accept), ("strict", OnFailure::Disconnect)] {
        profile(devices, name, MqttTransport { on_failure, ..MqttTransport::json() }).await;
    }
    profile(devices, "coded", MqttTransport { payload: codec_not_there(), ..MqttTransport::json() }).await;
    let other =
        ProfileDraft { transport: TransportKind::Other("COAP".into()), ..ProfileDraft::named("coap") };
    devices.ensure_profile(other, Timestamp(0)).await.unwrap();
    for (name, profile) in [
        ("TOK", None),
        ("TOK2", None),
        ("accept", Some("accept")),
        ("strict", Some("strict")),
        ("coded", Some("coded")),
        ("coap", Some("coap")),
    ] {
        device(devices, name, profile, CredentialsDraft::AccessToken(name.into())).await;
    }
    for (name, profile) in [("gateway", None), ("strict-gateway", Some("strict"))] {
        let credentials = Some(CredentialsDraft::AccessToken(name.into()));
        let profile = profile.map(str::to_owned);
        let spec = DeviceSpec { name: name.into(), label: None, profile, gateway: true, credentials };
        devices.ensure_device(spec, Timestamp(0)).await.unwrap();
    }
    let basic = CredentialsDraft::MqttBasic {
        client_id: Some("cid".into()),
        user_name: Some("user".into()),
        password: Some("secret".into()),
    };
    device(devices, "basic", None, basic).await;
    let by_id =
        CredentialsDraft::MqttBasic { client_id: Some("only-id".into()), user_name: None, password: None };
    device(devices, "by-id", None, by_id).await;
}

/// By a codec that is not in the folder.
pub(super) fn codec_not_there() -> PayloadKind {
    PayloadKind::Codec {
        codec: CodecName::parse("not-there").unwrap(),
        pin: None,
        settings: "{}".into(),
        isolate_messages: false,
        wrapping: None,
    }
}

pub(super) async fn profile(devices: &Devices, name: &str, mqtt: MqttTransport) {
    let draft = ProfileDraft { transport: TransportKind::Mqtt(mqtt), ..ProfileDraft::named(name) };
    devices.ensure_profile(draft, Timestamp(0)).await.unwrap();
}

async fn device(devices: &Devices, name: &str, profile: Option<&str>, credentials: CredentialsDraft) {
    let spec = DeviceSpec {
        name: name.into(),
        label: None,
        profile: profile.map(str::to_owned),
        gateway: false,
        credentials: Some(credentials),
    };
    devices.ensure_device(spec, Timestamp(0)).await.unwrap();
}

/// Drives a future of the management side on this thread.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

/// A socket.
pub(super) struct Client {
    pub(super) stream: TcpStream,
}

impl Client {
    #[track_caller]
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next packet: its first byte and what follows the length.
    #[track_caller]
    pub(super) fn packet(&mut self) -> (u8, Vec<u8>) {
        let kind = self.byte();
        let mut length = 0;
        for shift in 0..4 {
            let byte = self.byte();
            length |= usize::from(byte & 0x7F) << (7 * shift);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (kind, body)
    }

    #[track_caller]
    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).unwrap();
        byte[0]
    }

    #[track_caller]
    pub(super) fn expect(&mut self, kind: u8, body: &[u8]) {
        let (got_kind, got_body) = self.packet();
        assert_eq!((got_kind, &got_body[..]), (kind, body), "{got_kind:02x} {got_body:02x?}");
    }

    /// The acknowledgement of a publish, in this version.
    #[track_caller]
    pub(super) fn expect_ack(&mut self, version: Version, id: u16, reason: u8) {
        self.expect_answer(version, 0x40, id, reason);
    }

    #[track_caller]
    pub(super) fn expect_answer(&mut self, version: Version, kind: u8, id: u16, reason: u8) {
        let (got, body) = self.packet();
        assert_eq!((got, &body[..2]), (kind, &id.to_be_bytes()[..]), "{got:02x} {body:02x?}");
        match version {
            Version::V3 => assert_eq!(body.len(), 2),
            Version::V5 => assert_eq!(body.get(2).copied().unwrap_or(0), reason, "{body:02x?}"),
        }
    }

    /// The end of the connection; MQTT 5 is told why.
    #[track_caller]
    pub(super) fn expect_close(&mut self, version: Version, reason: u8) {
        if version == Version::V5 {
            let (kind, body) = self.packet();
            assert_eq!((kind, body[0]), (0xE0, reason), "{kind:02x} {body:02x?}");
        }
        self.expect_end();
    }

    #[track_caller]
    pub(super) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection stays: {error}"),
        }
        assert_eq!(rest, [0; 0], "more than the end");
    }

    /// The connection is usable.
    #[track_caller]
    pub(super) fn expect_alive(&mut self) {
        self.send(&[0xC0, 0]);
        self.expect(0xD0, &[]);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    V3,
    V5,
}

pub(super) const BOTH: [Version; 2] = [Version::V3, Version::V5];

pub(super) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7F).unwrap();
        length >>= 7;
        packet.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

pub(super) fn text(text: &str) -> Vec<u8> {
    bytes(text.as_bytes())
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    length.into_iter().chain(bytes.iter().copied()).collect()
}

/// CONNECT with a clean session.
pub(super) fn connect(
    version: Version,
    client_id: &str,
    user: Option<&str>,
    password: Option<&[u8]>,
    keep_alive: u16,
) -> Vec<u8> {
    connect_with(version, client_id, user, password, keep_alive, &[])
}

pub(super) fn connect_with(
    version: Version,
    client_id: &str,
    user: Option<&str>,
    password: Option<&[u8]>,
    keep_alive: u16,
    properties: &[u8],
) -> Vec<u8> {
    let mut body = text("MQTT");
    body.push(if version == Version::V3 { 4 } else { 5 });
    body.push(0x02 | if user.is_some() { 0x80 } else { 0 } | if password.is_some() { 0x40 } else { 0 });
    body.extend(keep_alive.to_be_bytes());
    if version == Version::V5 {
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend(properties);
    }
    body.extend(text(client_id));
    body.extend(user.map(text).unwrap_or_default());
    body.extend(password.map(bytes).unwrap_or_default());
    packet(0x10, &body)
}

/// PUBLISH; QoS 0 without an id.
pub(super) fn publish(version: Version, topic: &str, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    publish_with(version, topic, qos, id, &[], payload)
}

pub(super) fn publish_with(
    version: Version,
    topic: &str,
    qos: u8,
    id: u16,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == Version::V5 {
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend(properties);
    }
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

pub(super) fn subscribe(version: Version, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for (filter, qos) in filters {
        body.extend(text(filter));
        body.push(*qos);
    }
    packet(0x82, &body)
}

pub(super) fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        body.extend(text(filter));
    }
    packet(0xA2, &body)
}
