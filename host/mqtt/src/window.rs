//! The publishes of one connection that are being worked on: how many at once, and which packet ids.
//!
//! When the window is full the connection is not read, so TCP slows the device down. It also knows which QoS 2
//! exchanges are open: a publish that comes again must not be stored again.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::poll_fn;
use std::num::NonZeroU16;
use std::task::{Context, Poll};

use ntex::task::LocalWaker;
use ntex_mqtt::QoS;
use wireglot_model::limits::{IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX};

/// What is in flight on one connection.
#[derive(Default)]
pub(crate) struct Window {
    count: Cell<u16>,
    bytes: Cell<usize>,
    is_shut: Cell<bool>,
    room: LocalWaker,
    idle: LocalWaker,
    /// Ids of QoS 1 and 2 publishes that are being worked on; short, so scanned.
    running: RefCell<Vec<NonZeroU16>>,
    /// QoS 2 publishes that are kept, and wait for their PUBREL. Bounded by the number of packet ids.
    received: RefCell<HashSet<NonZeroU16>>,
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
    /// Resolves when the connection may be read on.
    pub(crate) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        if !self.is_shut.get() && !self.is_full() {
            return Poll::Ready(());
        }
        self.room.register(context.waker());
        Poll::Pending
    }

    fn is_full(&self) -> bool {
        self.count.get() >= IN_FLIGHT_MAX || self.bytes.get() >= IN_FLIGHT_BYTES_MAX
    }

    /// Takes a place for a publish of this size, which `leave` gives back.
    pub(crate) fn enter(&self, bytes: usize) {
        self.count.set(self.count.get().saturating_add(1));
        self.bytes.set(self.bytes.get() + bytes);
    }

    pub(crate) fn leave(&self, bytes: usize) {
        let was_full = self.is_full();
        self.count.set(self.count.get().saturating_sub(1));
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
        if was_full && !self.is_full() {
            self.room.wake();
        }
        if self.count.get() == 0 {
            self.idle.wake();
        }
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

    /// How many publishes are in flight.
    pub(crate) fn count(&self) -> u16 {
        self.count.get()
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn has_room(window: &Window) -> bool {
        window.poll_room(&Context::from_waker(Waker::noop())).is_ready()
    }

    fn id(id: u16) -> NonZeroU16 {
        NonZeroU16::new(id).unwrap()
    }

    #[test]
    fn the_window_is_full_at_its_count() {
        let window = Window::default();
        (0..IN_FLIGHT_MAX - 1).for_each(|_| window.enter(10));
        assert!(has_room(&window));
        window.enter(10);
        assert!(!has_room(&window));
        window.leave(10);
        assert!(has_room(&window));
    }

    #[test]
    fn the_window_is_full_at_its_bytes() {
        let window = Window::default();
        window.enter(IN_FLIGHT_BYTES_MAX);
        assert!(!has_room(&window));
        window.leave(IN_FLIGHT_BYTES_MAX);
        assert!(has_room(&window));
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
