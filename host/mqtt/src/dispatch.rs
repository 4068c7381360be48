//! What both versions share about the end of a connection, and why ntex-mqtt's packet dispatcher is replaced.
//!
//! ntex-mqtt 8.2.1 brings the codecs, the ordered answers, write backpressure and the timers. Between the two lies a
//! dispatcher of packets, which `v3::Dispatch` and `v5::Dispatch` stand in for, because it
//! - answers a QoS 2 publish that is sent again with PUBACK 0x91 (MQTT 5) or ends the connection (3.1.1);
//! - never frees the packet id of a QoS 2 publish that was refused;
//! - ends the connection when a device acknowledges out of order, or something that was not sent;
//! - lets its own in-flight limit through while publish follows publish;
//! - ends the connection on an unknown topic alias and on a filter that is not well formed;
//! - forgets what a device sent just before its DISCONNECT.
//!
//! Each of these has a test under `tests`.

use ntex::io::IoBoxed;
use ntex::time::{Millis, timeout};
use ntex_mqtt::error::ProtocolError;
use ntex_mqtt::v5::PublishAck;
use ntex_mqtt::{Control, Reason};
use wireglot_model::limits::DRAIN_TIMEOUT_S;

use crate::ack::Close;
use crate::session::Session;

/// The connection has ended, and everything about it has been said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended;

// What ntex's function services fail to start with: they cannot.
impl From<()> for Ended {
    fn from((): ()) -> Self {
        Ended
    }
}

// ntex-mqtt asks whether a failed publish can still be answered; it never gets one to see.
impl TryFrom<Ended> for PublishAck {
    type Error = Ended;

    fn try_from(ended: Ended) -> Result<Self, Ended> {
        Err(ended)
    }
}

/// Does what the connection control asks for. Before a connection stops, what it has begun is finished: its answers
/// are lost with it, but not its messages. Says why the server stops it, if it does.
pub(crate) async fn finish(session: &Session, control: Control<Ended>) -> Option<Close> {
    let reason = match control {
        Control::WrBackpressure(pressure) => {
            if !pressure.enabled() {
                crate::deliver::flush(session);
            }
            return None;
        }
        Control::Stop(reason) => reason,
    };
    let close = match &reason {
        Reason::Protocol(error) => Some(match error.get_ref() {
            ProtocolError::KeepAliveTimeout | ProtocolError::ReadTimeout => session.silence(),
            ProtocolError::Encode(_) => Close::Failed,
            ProtocolError::Decode(_) | ProtocolError::ProtocolViolation(_) => {
                session.worker.counters.sessions_broken.count();
                Close::Malformed
            }
        }),
        Reason::Error(_) => Some(Close::Failed),
        Reason::PeerGone(_) => None,
    };
    if let Some(close) = close {
        tracing::debug!(device = %session.device.id(), reason = ?close, "Session closed by the server.");
    }
    // A commit that takes longer than this fails anyway.
    let _finished = timeout(Millis(u32::from(DRAIN_TIMEOUT_S) * 1000), session.window.idle()).await;
    close
}

/// Ends a connection that has been refused. `is_written`: the refusal goes out first.
pub(crate) async fn hang_up(io: &IoBoxed, is_written: bool) -> Ended {
    if !is_written || io.shutdown().await.is_err() {
        // The peer went first.
        io.terminate();
    }
    Ended
}
