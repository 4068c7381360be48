//! One connection of the driver: bytes between its socket and ntex's buffers.
//!
//! ntex says through the context whether it wants to read and has something to write. The socket stays registered for
//! reading, edge-triggered, so that a message costs one event; it is registered for writing only while the kernel takes
//! no more.

use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::{Rc, Weak};
use std::task::Poll;

use ntex::io::{Handle, IoContext, IoStream, IoTaskStatus, Readiness, types};
use ntex::util::{BytePage, BytePages};
use rustix::event::epoll::{self, EventData, EventFlags};

use super::{READ_BYTES, Sockets};

/// Pages written at once.
const PAGES_MAX: usize = 16;

/// Reads before a socket is closed; whoever sends more is cut off.
const LAST_READS_MAX: usize = 16;

/// A socket that ntex has not taken over yet.
pub(super) struct Socket {
    tcp: TcpStream,
    sockets: Rc<Sockets>,
}

/// A connection.
pub(super) struct Stream {
    /// `None` once it is closed.
    tcp: RefCell<Option<TcpStream>>,
    context: IoContext,
    sockets: Rc<Sockets>,
    key: Cell<usize>,
    /// What the kernel tells us of.
    interest: Cell<EventFlags>,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, sockets: Rc<Sockets>) -> Self {
        Self { tcp, sockets }
    }
}

impl IoStream for Socket {
    fn start(self, context: IoContext) -> Box<dyn Handle> {
        let Self { tcp, sockets } = self;
        let stream = Rc::new(Stream {
            tcp: RefCell::new(Some(tcp)),
            context,
            sockets,
            key: Cell::new(0),
            interest: Cell::new(EventFlags::empty()),
        });
        match stream.register() {
            Ok(()) => ntex::rt::spawn(serve(stream.clone())).detach(),
            Err(error) => stream.context.stop(Some(error)),
        }
        Box::new(StreamHandle(Rc::downgrade(&stream)))
    }
}

/// What ntex holds of a connection. Weak, because ntex puts it back when a write has ended the connection, and the
/// stream holds what holds it.
struct StreamHandle(Weak<Stream>);

impl Handle for StreamHandle {
    fn query(&self, id: TypeId) -> Option<Box<dyn std::any::Any>> {
        if id != TypeId::of::<types::PeerAddr>() {
            return None;
        }
        let peer = self.0.upgrade()?.tcp.borrow().as_ref()?.peer_addr().ok()?;
        Some(Box::new(types::PeerAddr(peer)))
    }

    fn write(&self, _: &IoContext) {
        if let Some(stream) = self.0.upgrade() {
            stream.write();
        }
    }
}

/// Follows what ntex wants of the connection, and closes it in the end.
async fn serve(stream: Rc<Stream>) {
    let context = &stream.context;
    let flushes = poll_fn(|cx| {
        let reads = match context.poll_read_ready(cx) {
            Poll::Ready(Readiness::Ready) => true,
            Poll::Ready(Readiness::Shutdown | Readiness::Terminate) => return Poll::Ready(false),
            Poll::Pending => false,
        };
        let writes = match context.poll_write_ready(cx) {
            Poll::Ready(Readiness::Ready) => true,
            Poll::Ready(Readiness::Shutdown) => return Poll::Ready(true),
            Poll::Ready(Readiness::Terminate) => return Poll::Ready(false),
            Poll::Pending => false,
        };
        stream.follow(reads, writes);
        Poll::Pending
    })
    .await;
    if !context.is_stopped() {
        poll_fn(|cx| {
            stream.follow(true, true);
            context.shutdown(flushes, cx)
        })
        .await;
    }
    let closed = stream.close();
    if !context.is_stopped() {
        context.stop(closed.err());
    }
}

impl Stream {
    fn register(self: &Rc<Self>) -> io::Result<()> {
        let key = self.sockets.streams.borrow_mut().insert(self.clone());
        self.key.set(key);
        let tcp = self.tcp.borrow();
        let Some(tcp) = tcp.as_ref() else { return Ok(()) };
        let added = epoll::add(&self.sockets.epoll, tcp, EventData::new_u64(key as u64), EventFlags::empty());
        if added.is_err() {
            self.sockets.streams.borrow_mut().try_remove(key);
        }
        Ok(added?)
    }

    /// What ntex wants now. The kernel is asked only where that is something new.
    fn follow(&self, reads: bool, writes: bool) {
        let is_waiting = self.interest.get().contains(EventFlags::OUT);
        self.listen(reads, writes && (is_waiting || self.write() == IoTaskStatus::Io));
    }

    /// Each change makes the kernel look again, so that nothing is missed that came while nobody listened.
    fn listen(&self, reads: bool, writes: bool) {
        let mut interest = EventFlags::ET;
        interest.set(EventFlags::IN | EventFlags::RDHUP, reads);
        interest.set(EventFlags::OUT, writes);
        if self.interest.get() == interest {
            return;
        }
        let tcp = self.tcp.borrow();
        let Some(tcp) = tcp.as_ref() else { return };
        self.interest.set(interest);
        let data = EventData::new_u64(self.key.get() as u64);
        if let Err(error) = epoll::modify(&self.sockets.epoll, tcp, data, interest) {
            self.context.stop(Some(error.into()));
        }
    }

    /// The kernel says, once, that something can be done: it is done to its end.
    pub(super) fn ready(&self, flags: EventFlags) {
        let (mut reads, mut writes) = (self.listens(EventFlags::IN), self.listens(EventFlags::OUT));
        let has_failed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let is_over = has_failed || flags.contains(EventFlags::RDHUP);
        if reads && (is_over || flags.contains(EventFlags::IN)) {
            reads = self.read(is_over) == IoTaskStatus::Io;
        } else if has_failed && !self.context.is_stopped() {
            self.context.stop(None);
        }
        if writes && flags.contains(EventFlags::OUT) {
            writes = self.write() == IoTaskStatus::Io;
        }
        self.listen(reads, writes);
    }

    fn listens(&self, what: EventFlags) -> bool {
        self.interest.get().contains(what)
    }

    /// Reads until nothing is left or nobody wants more. A short read is the last one, unless the end follows it.
    fn read(&self, is_over: bool) -> IoTaskStatus {
        loop {
            let (status, count) = self.read_once();
            if status != IoTaskStatus::Io || count == 0 || (count < READ_BYTES && !is_over) {
                return status;
            }
        }
    }

    fn read_once(&self) -> (IoTaskStatus, usize) {
        let mut scratch = self.sockets.scratch.borrow_mut();
        let result = match self.tcp.borrow().as_ref() {
            Some(mut tcp) => tcp.read(&mut scratch),
            None => return (IoTaskStatus::Stop, 0),
        };
        let mut buffer = self.context.get_read_buf();
        let status = match result {
            Ok(0) => {
                self.context.stop(None);
                Ok(0)
            }
            Ok(count) => {
                buffer.extend_from_slice(scratch.get(..count).unwrap_or_default());
                Ok(count)
            }
            Err(error) if is_momentary(&error) => Ok(0),
            Err(error) => Err(error),
        };
        drop(scratch);
        let count = *status.as_ref().unwrap_or(&0);
        (self.context.update_read_status(buffer, status), count)
    }

    /// Writes what waits, as much as the kernel takes.
    fn write(&self) -> IoTaskStatus {
        let result = self.context.with_write_buf(|buffer| {
            let tcp = self.tcp.borrow();
            let Some(tcp) = tcp.as_ref() else { return Ok(false) };
            let mut has_written = false;
            while let Some(first) = buffer.take() {
                let Progress { count, is_short } = write_pages(tcp, buffer, first)?;
                has_written |= count > 0;
                if is_short {
                    break;
                }
            }
            Ok(has_written)
        });
        self.context.update_write_status(result)
    }

    /// Closes the socket here: the kernel sends what was written on its own, so that nobody has to wait. What was
    /// received and not read would make it reset the connection instead, so a bounded part of that is read first.
    fn close(&self) -> io::Result<()> {
        let tcp = self.tcp.take();
        self.sockets.streams.borrow_mut().try_remove(self.key.get());
        let Some(tcp) = tcp else { return Ok(()) };
        epoll::delete(&self.sockets.epoll, &tcp)?;
        match tcp.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != ErrorKind::NotConnected => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut scratch = self.sockets.scratch.borrow_mut();
        for _ in 0..LAST_READS_MAX {
            if !matches!((&tcp).read(&mut scratch), Ok(1..)) {
                break;
            }
        }
        Ok(())
    }
}

/// What one call has written.
struct Progress {
    count: usize,
    /// The kernel takes no more for now.
    is_short: bool,
}

/// Writes `first` and some of what follows it in `buffer`; what the kernel does not take goes back.
fn write_pages(mut tcp: &TcpStream, buffer: &mut BytePages, mut first: BytePage) -> io::Result<Progress> {
    let mut rest: Vec<BytePage> = Vec::new();
    while rest.len() + 1 < PAGES_MAX
        && let Some(page) = buffer.take()
    {
        rest.push(page);
    }
    let written = if rest.is_empty() {
        tcp.write(first.as_ref())
    } else {
        let pages = std::iter::once(&first).chain(&rest);
        let slices: Vec<IoSlice<'_>> = pages.map(|page| IoSlice::new(page.as_ref())).collect();
        tcp.write_vectored(&slices)
    };
    let count = match written {
        Ok(count) => count,
        Err(error) if is_momentary(&error) => 0,
        Err(error) => return Err(error),
    };
    let mut done = count;
    for page in std::iter::once(&mut first).chain(&mut rest) {
        let part = done.min(page.len());
        page.advance_to(part);
        done -= part;
    }
    let mut is_short = false;
    for page in rest.into_iter().rev().chain([first]).filter(|page| !page.is_empty()) {
        is_short |= buffer.prepend(page);
    }
    Ok(Progress { count, is_short })
}

/// Whether the socket has only nothing to say, or no room, for now.
fn is_momentary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
