//! The loop of one session: packets out of the connection, one by one, until one side ends it.
//!
//! ntex-mqtt brings the codecs of both versions, and its own loop with services around them. Ours takes its place
//! because a device of this API expects other answers in places, and because the services cost as much as the rest
//! of the way. ntex-mqtt 8.2.1
//! - answers a QoS 2 publish that is sent again with PUBACK 0x91 (MQTT 5) or ends the connection (3.1.1);
//! - never frees the packet id of a QoS 2 publish that was refused;
//! - ends the connection when a device acknowledges out of order, or something that was not sent;
//! - lets its own in-flight limit through while publish follows publish;
//! - ends the connection on an unknown topic alias and on a filter that is not well formed;
//! - forgets what a device sent just before its DISCONNECT;
//! - knows keep alives only in whole seconds.
//!
//! Each of these has a test under `tests`.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ntex::codec::{Decoder, Encoder};
use ntex::io::{Decoded, Io, IoStatusUpdate, RecvError};
use ntex::time::{Millis, Sleep, timeout};
use wireglot_model::limits::{DRAIN_TIMEOUT_S, PACKET_BYTES_MAX, PACKET_TIMEOUT_S};

use crate::ack::Close;
use crate::session::{Owner, Session};
use crate::{deliver, gateway, rpc};

/// More than this is never read ahead of a packet that is as long as it says.
pub(crate) const UNREAD_BYTES_MAX: usize = 4 * PACKET_BYTES_MAX;

/// A version of MQTT, as the loop sees it.
pub(crate) trait Dialect {
    type Codec: Decoder + Encoder;

    /// Does what a packet asks for. Publishes are answered through the session's line, when they are durable.
    fn hear(&mut self, session: &Rc<Session>, packet: <Self::Codec as Decoder>::Item) -> Next<Answer<Self>>;
}

type Answer<D> = <<D as Dialect>::Codec as Encoder>::Item;

/// What follows a packet.
pub(crate) enum Next<A> {
    Packet,
    Answer(A),
    /// The device takes its leave.
    Farewell,
}

/// Why a loop has ended.
enum End {
    Gone,
    Closed,
    Farewell,
    Broken(Close),
}

/// Serves a session from its CONNACK to its end.
pub(crate) async fn converse<F, D: Dialect>(io: &Io<F>, codec: &D::Codec, owner: &Owner, mut dialect: D) {
    let session = owner.session();
    let mut watch = Watch::new(session.silence_max());
    let end = poll_fn(|cx| listen(io, codec, session, &mut dialect, &mut watch, cx)).await;
    // A part of a package is of no use to whoever does not hear it; a device asks again when it is back.
    session.downloads.stop(session);
    // What comes now is kept for the next session, as long as it can be told that it was not heard.
    rpc::end_interest(session);
    // What was seen since the last report of a gateway is told before it goes.
    gateway::report(session, Duration::ZERO);
    // What has begun is finished first: its answers may be lost with the connection, but not its messages. A commit
    // that takes longer than this fails anyway.
    let _finished = timeout(Millis(u32::from(DRAIN_TIMEOUT_S) * 1000), session.window.idle()).await;
    match end {
        End::Farewell => session.close_as_asked(),
        End::Broken(close) => session.close(close),
        End::Gone | End::Closed => {}
    }
    hang_up(io).await;
}

/// Ends the connection as soon as what was written is on its way.
pub(crate) async fn hang_up<F>(io: &Io<F>) {
    let ended = poll_fn(|cx| {
        // Nobody reads on; what still comes would only fill memory.
        io.with_read_buf(|unread| unread.clear());
        io.poll_shutdown(cx)
    });
    if ended.await.is_err() {
        // The peer went first.
        io.terminate();
    }
}

fn listen<F, D: Dialect>(
    io: &Io<F>,
    codec: &D::Codec,
    session: &Rc<Session>,
    dialect: &mut D,
    watch: &mut Watch,
    cx: &mut Context<'_>,
) -> Poll<End> {
    let too_long = |()| End::Broken(session.silence());
    let mut is_gone = false;
    loop {
        if session.is_closing() {
            return Poll::Ready(End::Closed);
        }
        if !is_gone && session.poll_room(cx).is_pending() {
            watch.restart();
            match io.poll_read_pause(cx) {
                // What was read of it is served at once: it is no more than a read buffer, and waiting would lose it.
                Poll::Ready(IoStatusUpdate::PeerGone(_)) => is_gone = true,
                Poll::Ready(IoStatusUpdate::WriteBackpressure) => {
                    // The look itself has taken it back where the device reads again.
                    if !io.is_wr_backpressure() {
                        deliver::flush(session);
                    }
                    return Poll::Pending;
                }
                Poll::Ready(IoStatusUpdate::KeepAlive) | Poll::Pending => return Poll::Pending,
            }
        }
        // Who does not read its answers is not heard.
        if io.is_wr_backpressure() {
            match io.poll_flush(cx, false) {
                Poll::Ready(Ok(())) => deliver::flush(session),
                Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                Poll::Pending => return watch.look(false, cx).map(too_long),
            }
        }
        match io.poll_recv_decode(codec, cx) {
            Ok(Decoded { item: Some(packet), .. }) => {
                watch.restart();
                match dialect.hear(session, packet) {
                    Next::Packet => {}
                    Next::Answer(answer) => {
                        if io.encode(answer, codec).is_err() {
                            return Poll::Ready(End::Broken(Close::Failed));
                        }
                    }
                    Next::Farewell => return Poll::Ready(End::Farewell),
                }
            }
            // ntex-mqtt waits for all properties of an MQTT 5 packet before it compares their length with the packet's.
            Ok(Decoded { remains, .. }) if remains > UNREAD_BYTES_MAX => {
                return Poll::Ready(End::Broken(Close::Malformed));
            }
            Ok(Decoded { remains, .. }) => return watch.look(remains > 0, cx).map(too_long),
            Err(RecvError::Decoder(_)) => return Poll::Ready(End::Broken(Close::Malformed)),
            Err(RecvError::PeerGone(_)) => return Poll::Ready(End::Gone),
            // The timer of the connection is not used; the other one is met at the next turn.
            Err(RecvError::KeepAlive | RecvError::WriteBackpressure) => {}
        }
    }
}

/// Times silence. Reads the clock once for all that was read at once, and sets its timer anew only when it went off.
struct Watch {
    silence_max: Duration,
    /// When the last packet was there.
    heard: Instant,
    is_heard: bool,
    /// Since when there is a part of a packet.
    partial: Option<Instant>,
    timer: Sleep,
    timer_ends: Instant,
    /// Whether the timer knows whom to wake.
    is_armed: bool,
}

impl Watch {
    fn new(silence_max: Duration) -> Self {
        let heard = Instant::now();
        let timer_ends = heard + silence_max;
        Self {
            silence_max,
            heard,
            is_heard: false,
            partial: None,
            timer: Sleep::new(millis(silence_max)),
            timer_ends,
            is_armed: false,
        }
    }

    /// A packet was there, or the device is not listened to: its silence begins anew.
    fn restart(&mut self) {
        self.is_heard = true;
    }

    /// Resolves when the device has been silent, or in the middle of a packet, for too long.
    fn look(&mut self, is_partial: bool, cx: &mut Context<'_>) -> Poll<()> {
        let mut now = Instant::now();
        if std::mem::take(&mut self.is_heard) {
            self.heard = now;
            self.partial = None;
        }
        self.partial = is_partial.then(|| self.partial.unwrap_or(now));
        let silent = self.heard + self.silence_max;
        let whole = self.partial.map(|since| since + Duration::from_secs(PACKET_TIMEOUT_S.into()));
        let ends = whole.map_or(silent, |whole| whole.min(silent));
        loop {
            if now >= ends {
                return Poll::Ready(());
            }
            if ends < self.timer_ends || self.timer_ends <= now {
                self.timer.reset(millis(ends - now));
                self.timer_ends = ends;
            } else if self.is_armed && self.timer_ends - now > self.silence_max / 2 {
                // It knows this task, and has far to go.
                return Poll::Pending;
            }
            self.is_armed = true;
            if self.timer.poll_elapsed(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer_ends = now;
            now = Instant::now();
        }
    }
}

/// Rounded up: a device must never be cut off early.
fn millis(duration: Duration) -> Millis {
    Millis(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX - 1) + 1)
}
