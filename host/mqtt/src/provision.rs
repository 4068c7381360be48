//! Sessions without a device (device API §15.1): whoever connects as `provision` may ask for a device, and nothing else.
//!
//! One request at a time: the next packet is read when the last one is answered, so nothing of such a session grows.
//! What a request does is in the domain; here is who may speak how long, and what each outcome is on the wire.

pub(crate) mod v3;
pub(crate) mod v5;

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ntex::codec::{Decoder, Encoder};
use ntex::io::{Decoded, Io, RecvError};
use ntex::time::{Millis, timeout};
use ntex::util::{ByteString, Bytes, Either, select};
use ntex_mqtt::QoS;
use wireglot_codec::native::{self, ProvisionRefusal};
use wireglot_device::{ProvisionError, now};
use wireglot_model::limits::{
    PACKET_TIMEOUT_S, PROVISION_ANSWERED_S, PROVISION_REQUESTS_MAX, SUBSCRIBE_FILTERS_MAX,
};
use wireglot_model::{DeviceAnswer, ProvisionAnswer, ProvisionRequest, RequestRefusal};
use wireglot_proto as proto;

use crate::ack::{Ack, Close};
use crate::connect::KeepAlive;
use crate::converse::{UNREAD_BYTES_MAX, hang_up};
use crate::publish::Answer;
use crate::session::{Line, Publication};
use crate::subscribe::Grant;
use crate::worker::Worker;

/// The user name, or the client id, of who has no device yet.
const PROVISION: &str = "provision";
/// What devices publish on; the documents have the second spelling (ruling 2).
const REQUESTS: [&str; 2] = ["/provision/request", "/provision"];
const RESPONSE: &str = "/provision/response";

/// Whether a CONNECT asks for such a session. No credentials are looked at.
pub(crate) fn is_asked(client_id: &str, user_name: Option<&str>) -> bool {
    user_name == Some(PROVISION) || client_id == PROVISION
}

/// A version of MQTT, as far as such a session needs it; the rest is its `Line`.
trait Tongue {
    type Codec: Decoder + Encoder;

    fn hear(&mut self, packet: <Self::Codec as Decoder>::Item) -> Heard;
    fn say(&self, said: Said) -> <Self::Codec as Encoder>::Item;
}

/// A packet of the device.
enum Heard {
    Publish {
        topic: ByteString,
        qos: QoS,
        id: Option<NonZeroU16>,
        payload: Vec<u8>,
    },
    Subscribe(NonZeroU16, Vec<(ByteString, QoS)>),
    Unsubscribe(NonZeroU16, Vec<ByteString>),
    Acknowledged,
    Released(NonZeroU16),
    Ping,
    /// A packet that answers nothing, or a part of one.
    Nothing,
    Farewell,
    Broken(Close),
}

/// A packet that is no business of a `Line`.
enum Said {
    Subscribed(NonZeroU16, Vec<Grant>),
    Unsubscribed(NonZeroU16, Vec<bool>),
    Completed { id: NonZeroU16, was_open: bool },
    Pong,
}

/// Why a session has ended.
enum End {
    Gone,
    Farewell,
    Closed(Close),
}

/// One session.
struct Guest {
    worker: Rc<Worker>,
    line: Line,
    keep_alive: KeepAlive,
    /// Known where wrong keys and secrets count against it.
    address: Option<IpAddr>,
    /// The QoS of the subscription, where there is one.
    subscribed: Option<QoS>,
    /// QoS 2 publishes that are done, and wait for their PUBREL. No more than there may be requests.
    received: HashSet<NonZeroU16>,
    requests: usize,
    /// Answers that the device takes no more of at once; no more than there may be requests.
    waiting: VecDeque<Bytes>,
    receive_max: Option<NonZeroU16>,
    unacknowledged: u16,
    last_id: u16,
    is_answered: bool,
    /// The session ends then, whatever it does.
    ends: Instant,
}

impl Guest {
    /// Begins a session; `None` where there are as many as may be.
    fn begin(
        worker: &Rc<Worker>,
        line: Line,
        keep_alive: KeepAlive,
        address: Option<IpAddr>,
        receive_max: Option<NonZeroU16>,
    ) -> Option<Self> {
        // There are only so many places, and nobody has to log in for one.
        let inactivity = Duration::from_secs(worker.session_inactivity_s().into());
        let inactivity = inactivity.min(Duration::from_secs(PROVISION_ANSWERED_S.into()));
        worker.enter_guest().then(|| Self {
            worker: worker.clone(),
            line,
            keep_alive,
            address,
            subscribed: None,
            received: HashSet::new(),
            requests: 0,
            waiting: VecDeque::new(),
            receive_max,
            unacknowledged: 0,
            last_id: 0,
            is_answered: false,
            ends: Instant::now() + inactivity,
        })
    }

    /// Serves the session from its CONNACK to its end.
    async fn converse<F, T: Tongue>(mut self, io: &Io<F>, codec: &T::Codec, mut tongue: T) {
        let end = loop {
            if let Err(end) = self.turn(io, codec, &mut tongue).await {
                break end;
            }
        };
        match end {
            End::Closed(close) => {
                if close.is_breach() {
                    self.worker.counters.sessions_broken.count();
                }
                tracing::debug!(reason = ?close, "Provisioning session closed by the server.");
                self.line.close(Some(close));
            }
            End::Farewell => self.line.close(None),
            End::Gone => {}
        }
        hang_up(io).await;
    }

    /// One packet.
    async fn turn<F, T: Tongue>(&mut self, io: &Io<F>, codec: &T::Codec, tongue: &mut T) -> Result<(), End> {
        if self.worker.is_draining() {
            return Err(End::Closed(Close::ShuttingDown));
        }
        // Also of one that never pauses.
        if Instant::now() >= self.ends {
            return Err(End::Closed(self.silence(true)));
        }
        let packet = self.hear(io, codec).await?;
        let said = match tongue.hear(packet) {
            Heard::Publish { topic, qos, id, payload } => {
                return self.publish(&topic, qos, id, &payload).await.map_err(End::Closed);
            }
            Heard::Subscribe(id, filters) => Said::Subscribed(id, self.subscribe(&filters)),
            Heard::Unsubscribe(id, filters) => {
                let was_subscribed =
                    |filter: &ByteString| filter == RESPONSE && self.subscribed.take().is_some();
                Said::Unsubscribed(id, filters.iter().map(was_subscribed).collect())
            }
            Heard::Released(id) => Said::Completed { id, was_open: self.received.remove(&id) },
            Heard::Ping => Said::Pong,
            Heard::Acknowledged => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                return self.flush().map_err(End::Closed);
            }
            Heard::Nothing => return Ok(()),
            Heard::Farewell => return Err(End::Farewell),
            Heard::Broken(close) => return Err(End::Closed(close)),
        };
        io.encode(tongue.say(said), codec).map_err(|_| End::Closed(Close::Failed))
    }

    /// Waits for a whole packet, but not for ever.
    async fn hear<F, U: Decoder>(&self, io: &Io<F>, codec: &U) -> Result<U::Item, End> {
        let left = self.ends.saturating_duration_since(Instant::now());
        let (mut patience, mut is_over) =
            (self.keep_alive.timeout.min(left), left <= self.keep_alive.timeout);
        let mut is_begun = false;
        loop {
            let stopping = self.worker.stopping.wait();
            // Never nothing: that would wait for ever.
            let limit = Millis::from(patience.max(Duration::from_millis(1)));
            match select(stopping.ready(), timeout(limit, next(io, codec, is_begun))).await {
                Either::Left(()) => return Err(End::Closed(Close::ShuttingDown)),
                Either::Right(Ok(read)) => match read? {
                    Read::Packet(packet) => return Ok(packet),
                    Read::Part => {
                        is_begun = true;
                        let whole = Duration::from_secs(PACKET_TIMEOUT_S.into());
                        is_over &= patience <= whole;
                        patience = patience.min(whole);
                    }
                },
                Either::Right(Err(())) => return Err(End::Closed(self.silence(is_over))),
            }
        }
    }

    /// Why a session that has been silent, or has been there, for too long ends.
    fn silence(&self, is_over: bool) -> Close {
        if is_over {
            return if self.is_answered { Close::Provisioned } else { Close::Inactive };
        }
        self.worker.counters.sessions_silent.count();
        if self.keep_alive.is_clients { Close::KeepAlive } else { Close::Inactive }
    }

    fn subscribe(&mut self, filters: &[(ByteString, QoS)]) -> Vec<Grant> {
        let grant = |(index, (filter, requested)): (usize, &(ByteString, QoS))| {
            if index >= SUBSCRIBE_FILTERS_MAX {
                return Grant::TooMany;
            }
            if filter != RESPONSE {
                return Grant::Refused;
            }
            let granted = (*requested).min(QoS::AtLeastOnce);
            self.subscribed = Some(granted);
            Grant::Granted(granted)
        };
        filters.iter().enumerate().map(grant).collect()
    }

    async fn publish(
        &mut self,
        topic: &str,
        qos: QoS,
        id: Option<NonZeroU16>,
        payload: &[u8],
    ) -> Result<(), Close> {
        self.worker.counters.publish_bytes.add(payload.len() as u64);
        if topic.contains(['+', '#']) {
            return Err(Close::Malformed);
        }
        if let Some(id) = id.filter(|id| self.received.contains(id)) {
            self.worker.counters.publishes_repeated.count();
            return self.answer(Answer::ReceivedBefore(id));
        }
        if !REQUESTS.contains(&topic) {
            self.worker.counters.publishes_unknown_topic.count();
            self.acknowledge(qos, id, Ack::unknown_topic())?;
            return Err(Close::UnknownTopic);
        }
        self.requests += 1;
        // An address that is blocked gets no further answers from the sessions that it has.
        if self.requests > PROVISION_REQUESTS_MAX || self.worker.entrance().is_blocked(self.address) {
            return Err(Close::Quota);
        }
        let (request, form) = match read(payload) {
            Ok(read) => read,
            Err(refusal) => return self.refuse(&refusal, qos, id),
        };
        match self.worker.devices.provision(request, now()).await {
            Ok(answer) => self.tell(&answer, form, qos, id),
            Err(error @ ProvisionError::CertificateChain) => {
                tracing::debug!(%error, "A provisioning request was refused.");
                self.worker.counters.provisions_refused.count();
                self.acknowledge(qos, id, Ack::unserved())?;
                Err(Close::Failed)
            }
            Err(ProvisionError::Failed(error)) => {
                tracing::error!(%error, "A device could not be provisioned.");
                self.worker.counters.publishes_failed.count();
                Err(Close::Failed)
            }
        }
    }

    /// Device API §15.2: what is no JSON may be repeated better; what says something else ends the session.
    fn refuse(&mut self, refusal: &ProvisionRefusal, qos: QoS, id: Option<NonZeroU16>) -> Result<(), Close> {
        tracing::debug!(%refusal, "A provisioning request cannot be read.");
        self.worker.counters.provisions_refused.count();
        match (refusal, &self.line, qos) {
            (ProvisionRefusal::Invalid(_), _, _) => {
                self.acknowledge(qos, id, Ack::unserved())?;
                Err(Close::Failed)
            }
            (ProvisionRefusal::OtherFormat(_), Line::V5(_), QoS::AtLeastOnce | QoS::ExactlyOnce) => {
                self.acknowledge(qos, id, Ack::unread())
            }
            (ProvisionRefusal::OtherFormat(_), _, _) => Err(Close::BadPayload),
        }
    }

    fn tell(
        &mut self,
        answer: &ProvisionAnswer,
        form: Form,
        qos: QoS,
        id: Option<NonZeroU16>,
    ) -> Result<(), Close> {
        count(&self.worker, self.address, answer);
        self.acknowledge(qos, id, Ack::provisioned(answer))?;
        if !self.is_answered {
            self.is_answered = true;
            self.ends = Instant::now() + Duration::from_secs(PROVISION_ANSWERED_S.into());
        }
        self.waiting.push_back(write(answer, form));
        self.flush()
    }

    fn acknowledge(&mut self, qos: QoS, id: Option<NonZeroU16>, ack: Ack) -> Result<(), Close> {
        match (id, qos) {
            (None, _) => Ok(()),
            (Some(id), QoS::ExactlyOnce) => {
                // In MQTT 5 a PUBREC with an error ends the exchange; MQTT 3.1.1 has none.
                if ack.is_success() || matches!(self.line, Line::V3(_)) {
                    self.received.insert(id);
                }
                self.answer(Answer::Received(id, ack))
            }
            (Some(id), QoS::AtMostOnce | QoS::AtLeastOnce) => self.answer(Answer::Acknowledged(id, ack)),
        }
    }

    fn answer(&self, answer: Answer) -> Result<(), Close> {
        self.line.answer(answer).map_err(|_| Close::Failed)
    }

    /// Publishes the answers that the device takes now, whether it has subscribed or not.
    fn flush(&mut self) -> Result<(), Close> {
        let qos = self.subscribed.unwrap_or(QoS::AtLeastOnce);
        let is_counted = qos != QoS::AtMostOnce;
        while !(is_counted && self.receive_max.is_some_and(|max| self.unacknowledged >= max.get())) {
            let Some(payload) = self.waiting.pop_front() else { break };
            self.last_id = self.last_id.wrapping_add(1).max(1);
            self.unacknowledged += u16::from(is_counted);
            let id = NonZeroU16::new(self.last_id).filter(|_| is_counted);
            let topic = ByteString::from_static(RESPONSE);
            self.line
                .publish(Publication { topic, qos, id, payload, call: None })
                .map_err(|_| Close::Failed)?;
            self.worker.counters.downlinks_sent.count();
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.worker.leave_guest();
    }
}

/// Answers one request that came without a session.
pub(crate) async fn answer_one(worker: &Worker, address: Option<IpAddr>, payload: &[u8]) -> DeviceAnswer {
    worker.counters.publish_bytes.add(payload.len() as u64);
    let refused = |reason: String| {
        worker.counters.provisions_refused.count();
        DeviceAnswer::Refused(RequestRefusal::Unusable(reason))
    };
    let (request, form) = match read(payload) {
        Ok(read) => read,
        Err(refusal) => return refused(refusal.to_string()),
    };
    match worker.devices.provision(request, now()).await {
        Ok(answer) => {
            count(worker, address, &answer);
            DeviceAnswer::Said { payload: write(&answer, form).to_vec(), rpc: None }
        }
        Err(error @ ProvisionError::CertificateChain) => refused(error.to_string()),
        Err(ProvisionError::Failed(error)) => {
            tracing::error!(%error, "A device could not be provisioned.");
            worker.counters.publishes_failed.count();
            DeviceAnswer::Refused(RequestRefusal::Failed)
        }
    }
}

fn count(worker: &Worker, address: Option<IpAddr>, answer: &ProvisionAnswer) {
    match answer {
        ProvisionAnswer::Success(_) => worker.counters.provisions_granted.count(),
        // Who knows key and secret and is refused all the same has guessed nothing.
        ProvisionAnswer::Failure => worker.counters.provisions_refused.count(),
        ProvisionAnswer::NotFound => {
            worker.counters.provisions_refused.count();
            worker.entrance().wrong(address);
        }
    }
}

/// How a request was written, and how it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Json,
    Protobuf,
}

/// Bytes to the request: JSON, else protobuf.
fn read(payload: &[u8]) -> Result<(ProvisionRequest, Form), ProvisionRefusal> {
    match native::provision_request(payload) {
        Ok(request) => Ok((request, Form::Json)),
        Err(refusal @ ProvisionRefusal::OtherFormat(_)) => match proto::provision_request(payload) {
            Ok(request) => Ok((request, Form::Protobuf)),
            Err(_) => Err(refusal),
        },
        Err(refusal @ ProvisionRefusal::Invalid(_)) => Err(refusal),
    }
}

/// The answer in the form of its request.
fn write(answer: &ProvisionAnswer, form: Form) -> Bytes {
    match form {
        Form::Json => native::write_provision_answer(answer).into(),
        Form::Protobuf => proto::write_provision_response(answer).into(),
    }
}

/// What has come.
enum Read<P> {
    Packet(P),
    Part,
}

/// The next packet, or once the beginning of it. Who does not read its answers is not heard.
async fn next<F, U: Decoder>(io: &Io<F>, codec: &U, is_begun: bool) -> Result<Read<U::Item>, End> {
    poll_fn(|cx| {
        loop {
            if io.is_wr_backpressure() {
                match io.poll_flush(cx, false) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Gone)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match io.poll_recv_decode(codec, cx) {
                Ok(Decoded { item: Some(packet), .. }) => return Poll::Ready(Ok(Read::Packet(packet))),
                Ok(Decoded { remains, .. }) if remains > UNREAD_BYTES_MAX => {
                    return Poll::Ready(Err(End::Closed(Close::Malformed)));
                }
                Ok(Decoded { remains, .. }) if remains > 0 && !is_begun => {
                    return Poll::Ready(Ok(Read::Part));
                }
                Ok(_) => return Poll::Pending,
                Err(RecvError::Decoder(_)) => return Poll::Ready(Err(End::Closed(Close::Malformed))),
                Err(RecvError::PeerGone(_)) => return Poll::Ready(Err(End::Gone)),
                // The timer of the connection is not used; the other one is met at the next turn.
                Err(RecvError::KeepAlive | RecvError::WriteBackpressure) => {}
            }
        }
    })
    .await
}
