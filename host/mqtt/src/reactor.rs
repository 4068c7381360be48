//! The I/O driver of the workers: epoll, one read and one write for a message, and little else.
//!
//! ntex lets a runtime bring its driver. Its own one asks the kernel again after each read, wakes itself through the
//! kernel whenever a task becomes ready, and closes sockets on other threads; for a server of many small messages
//! that is most of its system calls. Here sockets stay registered, a thread that is awake is not woken, and a socket
//! is closed where it was served. How that was measured is in `docs/decisions/0003-io-driver.md`.
//!
//! `stream` is one connection; here is the loop and how other threads interrupt it.

mod stream;

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use ntex::io::Io;
use ntex::rt::channel::Receiver;
use ntex::rt::{BlockFuture, Driver, Notify, PollResult, Reactor, Runner, Runtime};
use ntex::service::cfg::SharedCfg;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use slab::Slab;
use stream::{Socket, Stream};

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;
/// Tasks run before sockets are looked at again.
const TASKS_PER_LOOK: usize = 1024;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// The key of the bell; streams have keys from 0 on.
const BELL: u64 = u64::MAX;

/// Makes each thread that ntex starts one with this driver.
pub(crate) struct Epoll;

impl Runner for Epoll {
    fn block_on(&self, future: BlockFuture) -> Result<(), Box<dyn Any + Send>> {
        let driver = EpollDriver::new().map_err(|error| Box::new(error) as Box<dyn Any + Send>)?;
        let driver: Box<dyn Reactor> = Box::new(driver);
        ntex::rt::with_reactor(&driver, || {
            std::panic::catch_unwind(AssertUnwindSafe(|| {
                let mut builder = Runtime::builder();
                builder.event_interval(TASKS_PER_LOOK);
                builder.build(driver.handle()).block_on(future, &*driver);
            }))
        })
    }
}

struct EpollDriver {
    sockets: Rc<Sockets>,
    bell: Arc<Bell>,
}

/// What the streams of a thread share.
struct Sockets {
    epoll: OwnedFd,
    streams: RefCell<Slab<Rc<Stream>>>,
    /// Where every read goes first, so that a silent connection needs no buffer.
    scratch: RefCell<Box<[u8]>>,
}

impl EpollDriver {
    fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = Bell::new()?;
        epoll::add(&epoll, &bell.event, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        let scratch = RefCell::new(vec![0; READ_BYTES].into());
        let sockets = Rc::new(Sockets { epoll, streams: RefCell::default(), scratch });
        Ok(Self { sockets, bell: Arc::new(bell) })
    }

    /// Waits for sockets: not at all, or until there is something to do.
    fn wait(&self, events: &mut Vec<Event>, may_sleep: bool) -> io::Result<()> {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let sleeps = may_sleep && self.bell.allows_sleep();
        events.clear();
        let room = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.sockets.epoll, room, if sleeps { None } else { Some(&AT_ONCE) }) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Driver for EpollDriver {
    fn handle(&self) -> Box<dyn Notify> {
        Box::new(Notifier(self.bell.clone()))
    }

    fn run(&self, runtime: &Runtime) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        // Whether tasks of other threads may be among those that are looked at.
        let mut is_rung = false;
        loop {
            is_rung = self.bell.hush() || is_rung;
            let mut result = runtime.poll();
            if is_rung && matches!(result, PollResult::Pending) {
                // A turn of ntex-rt 3.17 that begins with tasks of its own says nothing of those that the tasks of other
                // threads make ready at its end. A turn that begins without any rings for them.
                result = runtime.poll();
            }
            is_rung &= matches!(result, PollResult::PollAgain);
            let may_sleep = match result {
                PollResult::Pending => true,
                PollResult::PollAgain => false,
                PollResult::Ready => {
                    // The streams hold what holds them.
                    let streams = self.sockets.streams.take();
                    drop(streams);
                    return Ok(());
                }
            };
            self.wait(&mut events, may_sleep)?;
            for event in &events {
                // Copied, because the fields are not aligned.
                let (key, flags) = (event.data.u64(), event.flags);
                if key != BELL
                    && let Some(stream) = self.sockets.stream(key)
                {
                    stream.ready(flags);
                }
            }
        }
    }
}

impl Reactor for EpollDriver {
    fn from_tcp_stream(&self, stream: TcpStream, config: SharedCfg) -> io::Result<Io> {
        stream.set_nonblocking(true)?;
        Ok(Io::new(Socket::new(stream, self.sockets.clone()), config))
    }

    fn from_unix_stream(&self, _: UnixStream, _: SharedCfg) -> io::Result<Io> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn tcp_connect(&self, _: SocketAddr, _: SharedCfg) -> Receiver<Io> {
        unsupported()
    }

    fn unix_connect(&self, _: PathBuf, _: SharedCfg) -> Receiver<Io> {
        unsupported()
    }
}

/// Workers only serve; nothing in this crate connects.
fn unsupported() -> Receiver<Io> {
    let (sender, receiver) = ntex::rt::channel::create();
    // The receiver is right here.
    drop(sender.send(Err(io::ErrorKind::Unsupported.into())));
    receiver
}

impl Sockets {
    fn stream(&self, key: u64) -> Option<Rc<Stream>> {
        self.streams.borrow().get(usize::try_from(key).ok()?).cloned()
    }
}

/// Interrupts the thread's sleep; costs no system call while it is awake.
#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    event: OwnedFd,
}

/// The thread is awake, and looks at its tasks before it sleeps.
const AWAKE: u8 = 0;
/// Somebody has made a task ready since it last looked.
const RUNG: u8 = 1;
/// It waits in the kernel.
const ASLEEP: u8 = 2;

impl Bell {
    fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: AtomicU8::new(AWAKE), event })
    }

    fn ring(&self) -> io::Result<()> {
        if self.state.swap(RUNG, Ordering::SeqCst) == ASLEEP {
            // The kernel tells of each write once, so that nobody has to read it; the counter would overflow only after
            // more writes than will ever be.
            rustix::io::write(&self.event, &1_u64.to_ne_bytes())?;
        }
        Ok(())
    }

    /// To be called before looking at tasks: what is made ready after this rings again. Says whether anything was.
    fn hush(&self) -> bool {
        self.state.swap(AWAKE, Ordering::SeqCst) == RUNG
    }

    /// Whether nobody has rung; if so, whoever does from now on wakes the thread through the kernel.
    fn allows_sleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

#[derive(Debug)]
struct Notifier(Arc<Bell>);

impl Notify for Notifier {
    fn notify(&self) -> io::Result<()> {
        self.0.ring()
    }
}
