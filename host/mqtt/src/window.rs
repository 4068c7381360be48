//! The publishes of one connection that are being worked on: how many at once, and which packet ids.
//!
//! When the window is full the connection is not read, so TCP slows the device down. ntex-mqtt's own limit lets
//! everything through while publish follows publish, and is not used.
//!
//! It also knows which QoS 2 exchanges are open: a publish that comes again must not be stored again, and ntex-mqtt
//! answers one with a PUBACK (MQTT 5) or ends the connection (MQTT 3.1.1).

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::poll_fn;
use std::num::NonZeroU16;
use std::task::Poll;

use ntex::task::LocalWaker;
use ntex_mqtt::QoS;
use wireglot_model::limits::{IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX};

const LET_IN_PER_LOOK: u16 = 16;

/// What is in flight on one connection.
#[derive(Default)]
pub(crate) struct Window {
    count: Cell<u16>,
    bytes: Cell<usize>,
    /// Packets let in that have not begun yet: the dispatcher reads on before the tasks it spawns have run.
    let_in: Cell<u16>,
    is_shut: Cell<bool>,
    room: LocalWaker,
    idle: LocalWaker,
    /// Ids of QoS 1 and 2 publishes that are being worked on; short, so scanned.
    running: RefCell<Vec<NonZeroU16>>,
    /// QoS 2 publishes that are kept, and wait for their PUBREL. Bounded by the number of packet ids.
    received: RefCell<HashSet<NonZeroU16>>,
}

/// A place in the window; dropping it frees the place.
pub(crate) struct Place<'a> {
    window: &'a Window,
    bytes: usize,
}

/// What a publish with a packet id is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// Not seen before.
    New,
    /// Being worked on: the first one's answer answers this one too.
    Running,
    /// QoS 2, kept already: the device has missed our PUBREC.
    Received,
}

impl Window {
    /// Resolves when the connection may be read on. What was read of a connection that is gone is served at once:
    /// it is no more than a read buffer, and waiting would lose it.
    pub(crate) async fn room(&self, is_gone: impl Fn() -> bool) {
        poll_fn(|cx| {
            self.room.register(cx.waker());
            if is_gone() {
                return Poll::Ready(());
            }
            if self.is_shut.get() || self.is_full() {
                return Poll::Pending;
            }
            if self.count.get() + self.let_in.get() >= IN_FLIGHT_MAX {
                // Those let in begin before this task is polled again; then it is known whether there is room.
                self.let_in.set(0);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.let_in.set(self.let_in.get() + 1);
            Poll::Ready(())
        })
        .await;
    }

    /// Whether so much was let in without a publish that somebody should look at what has been read.
    pub(crate) fn is_look_due(&self) -> bool {
        self.let_in.get() % LET_IN_PER_LOOK == LET_IN_PER_LOOK - 1
    }

    fn is_full(&self) -> bool {
        self.count.get() >= IN_FLIGHT_MAX || self.bytes.get() >= IN_FLIGHT_BYTES_MAX
    }

    /// Takes a place for a publish of this size.
    pub(crate) fn enter(&self, bytes: usize) -> Place<'_> {
        self.let_in.set(0);
        self.count.set(self.count.get().saturating_add(1));
        self.bytes.set(self.bytes.get() + bytes);
        Place { window: self, bytes }
    }

    /// Resolves when nothing is in flight. One task at a time may wait; a later one takes the earlier one's place.
    pub(crate) async fn idle(&self) {
        poll_fn(|cx| {
            self.idle.register(cx.waker());
            if self.count.get() == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.count.get() == 0
    }

    /// Lets nothing in any more.
    pub(crate) fn shut(&self) {
        self.is_shut.set(true);
    }

    /// Begins a publish with a packet id.
    pub(crate) fn begin(&self, qos: QoS, id: NonZeroU16) -> Delivery {
        if qos == QoS::ExactlyOnce && self.received.borrow().contains(&id) {
            return Delivery::Received;
        }
        let mut running = self.running.borrow_mut();
        if running.contains(&id) {
            return Delivery::Running;
        }
        running.push(id);
        Delivery::New
    }

    /// Ends a publish that was `New`; `is_open` where a PUBREL is to follow.
    pub(crate) fn end(&self, id: NonZeroU16, is_open: bool) {
        let mut running = self.running.borrow_mut();
        if let Some(index) = running.iter().position(|other| *other == id) {
            running.swap_remove(index);
        }
        if is_open {
            self.received.borrow_mut().insert(id);
        }
    }

    /// Ends a QoS 2 exchange. Says whether it was open.
    pub(crate) fn release(&self, id: NonZeroU16) -> bool {
        self.received.borrow_mut().remove(&id)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let window = self.window;
        let was_full = window.is_full();
        window.count.set(window.count.get().saturating_sub(1));
        window.bytes.set(window.bytes.get().saturating_sub(self.bytes));
        if was_full && !window.is_full() {
            window.room.wake();
        }
        if window.count.get() == 0 {
            window.idle.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn has_room(window: &Window) -> bool {
        pin!(window.room(|| false)).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn id(id: u16) -> NonZeroU16 {
        NonZeroU16::new(id).unwrap()
    }

    #[test]
    fn the_window_is_full_at_its_count() {
        let window = Window::default();
        let mut places: Vec<_> = (0..IN_FLIGHT_MAX - 1).map(|_| window.enter(10)).collect();
        assert!(has_room(&window));
        places.push(window.enter(10));
        assert!(!has_room(&window));
        places.pop();
        assert!(has_room(&window));
    }

    #[test]
    fn the_window_is_full_at_its_bytes() {
        let window = Window::default();
        let large = window.enter(IN_FLIGHT_BYTES_MAX);
        assert!(!has_room(&window));
        drop(large);
        assert!(has_room(&window));
    }

    #[test]
    fn packets_that_have_not_begun_count_too() {
        let window = Window::default();
        let let_in = (0..1000).take_while(|_| has_room(&window)).count();
        assert_eq!(let_in, usize::from(IN_FLIGHT_MAX));
        assert!(has_room(&window), "none of them were publishes");
    }

    #[test]
    fn what_was_read_of_a_gone_connection_is_served() {
        let window = Window::default();
        window.shut();
        let room = pin!(window.room(|| true)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(room.is_ready());
    }

    #[test]
    fn a_shut_window_lets_nothing_in() {
        let window = Window::default();
        window.shut();
        assert!(!has_room(&window));
    }

    #[test]
    fn a_publish_sent_again_is_known() {
        let window = Window::default();
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            assert_eq!(window.begin(qos, id(7)), Delivery::New);
            assert_eq!(window.begin(qos, id(7)), Delivery::Running);
            window.end(id(7), false);
        }
        assert_eq!(window.begin(QoS::ExactlyOnce, id(7)), Delivery::New);
        window.end(id(7), true);
        assert_eq!(window.begin(QoS::ExactlyOnce, id(7)), Delivery::Received);
        assert!(window.release(id(7)));
        assert!(!window.release(id(7)));
        assert_eq!(window.begin(QoS::ExactlyOnce, id(7)), Delivery::New);
    }
}
