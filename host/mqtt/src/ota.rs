//! Downloads of firmware and software in chunks (device API §16.5).
//!
//! A session's requests are served one after the other, in their order. A request keeps its place in the session's
//! window until its answer is on its way, so a device that asks faster than it reads is not heard; and the next part is
//! read from the disk only when the device has taken the one before. Where an MQTT 5 device owes acknowledgements it has
//! to be heard, so requests give up their places then, and have a bound of their own. What is read from the disk, and by whom, is in
//! `ota/readers.rs`.

mod readers;

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use ntex::task::LocalWaker;
use ntex::time::{Seconds, timeout};
use ntex::util::{ByteString, Bytes};
use wireglot_device::StoredFile;
use wireglot_model::limits::{
    OTA_CHUNK_BYTES_MAX, OTA_DOWNLOADS_REMEMBERED_MAX, OTA_PART_TIMEOUT_S, OTA_REQUESTS_WAITING_BYTES_MAX,
    OTA_REQUESTS_WAITING_MAX, OTA_WHOLE_BYTES_MAX,
};
use wireglot_model::{OtaContent, OtaKind};
use wireglot_route::{ota_error_topic, ota_request_id, ota_response_topic};

use crate::ack::Close;
use crate::deliver;
use crate::profile::Unread;
use crate::session::Session;

pub(crate) use readers::Readers;

/// The downloads of one session; nothing until the first one.
#[derive(Default)]
pub(crate) struct Downloads(RefCell<Option<Box<State>>>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Request>,
    /// The place in the window of the request that is being served.
    serving: Option<usize>,
    is_running: bool,
    is_over: bool,
    /// Whether the device has to acknowledge something before it gets more.
    is_owed: bool,
    /// The one that was used last comes last.
    remembered: Vec<Remembered>,
    room: LocalWaker,
}

/// A request for a part of a package.
struct Request {
    kind: OtaKind,
    /// As the device chose it.
    id: Box<str>,
    chunk: u32,
    part: Result<Part, Refusal>,
    /// What it takes of the session's window.
    place: Option<usize>,
}

/// A part of a file.
struct Part {
    source: Rc<Source>,
    offset: u64,
    bytes: u64,
}

/// The file of a package. Once it is open it is read to its end, whatever becomes of the package.
struct Source {
    file: uuid::Uuid,
    bytes: u64,
    open: OnceCell<Arc<StoredFile>>,
}

/// What belongs to a request id: the same package to its end, and the last size that was asked for.
struct Remembered {
    /// Of kind and request id, because ids may be long. A device whose ids collide harms itself.
    digest: u64,
    size: u64,
    source: Rc<Source>,
}

/// What a device is told instead of a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    PayloadTooLarge,
    NotFound,
    Failure,
}

impl Refusal {
    fn text(self) -> &'static str {
        match self {
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::NotFound => "NOT_FOUND",
            Self::Failure => "FAILURE",
        }
    }
}

/// The size that a request asks for; 0: the one used before, or everything.
pub(crate) fn wanted_bytes(payload: &[u8]) -> Result<u64, Unread> {
    let wrong = || Unread::refused("the size of a chunk is a whole number in decimal digits");
    let text = std::str::from_utf8(payload).map_err(|_| wrong())?;
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if text.is_empty() {
        return Ok(0);
    }
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    // What does not fit is too large in any case.
    Ok(if is_negative { 0 } else { digits.parse().unwrap_or(u64::MAX) })
}

/// Takes a request. Its answer goes out after those of the requests before it.
pub(crate) fn request(session: &Rc<Session>, topic: &str, kind: OtaKind, chunk: u32, size: u64) {
    let mut downloads = session.downloads.0.borrow_mut();
    let state = downloads.get_or_insert_default();
    if state.is_over {
        return;
    }
    if state.is_owed && state.is_full() {
        drop(downloads);
        return session.close(Close::Quota);
    }
    let place = (!state.is_owed).then_some(topic.len());
    place.into_iter().for_each(|bytes| session.window.enter(bytes));
    let part = state.part(session, topic, kind, chunk, size);
    state.waiting.push_back(Request { kind, id: ota_request_id(topic).into(), chunk, part, place });
    if !state.is_running {
        state.is_running = true;
        // It ends with the queue, and with the session.
        ntex::rt::spawn(serve(session.clone())).detach();
    }
}

/// Whether it is the first request of a download: only that counts against the rate limits (device API §17).
pub(crate) fn is_first(session: &Session, topic: &str, kind: OtaKind) -> bool {
    let digest = digest(kind, ota_request_id(topic));
    let downloads = session.downloads.0.borrow();
    !downloads.as_ref().is_some_and(|state| state.remembered.iter().any(|known| known.digest == digest))
}

impl State {
    fn is_full(&self) -> bool {
        let bytes = self.waiting.iter().map(|request| request.id.len()).sum::<usize>();
        self.waiting.len() >= OTA_REQUESTS_WAITING_MAX || bytes >= OTA_REQUESTS_WAITING_BYTES_MAX
    }

    /// Gives the window back to the device, so that its acknowledgements are heard.
    fn take_places(&mut self) -> Vec<usize> {
        let waiting = self.waiting.iter_mut().filter_map(|request| request.place.take());
        waiting.chain(self.serving.take()).collect()
    }

    fn part(
        &mut self,
        session: &Session,
        topic: &str,
        kind: OtaKind,
        chunk: u32,
        size: u64,
    ) -> Result<Part, Refusal> {
        if size > OTA_CHUNK_BYTES_MAX {
            return Err(Refusal::PayloadTooLarge);
        }
        let digest = digest(kind, ota_request_id(topic));
        let known = self.remembered.iter().position(|known| known.digest == digest);
        let mut download = match known {
            Some(index) => self.remembered.remove(index),
            None => Remembered { digest, size: 0, source: source(session, kind)? },
        };
        if size > 0 {
            download.size = size;
        }
        // The answer's topic is one byte longer; then come its length, a packet id and no properties.
        let fits = |part: &Part| {
            session.line.publish_bytes_max().is_none_or(|max| topic.len() as u64 + 6 + part.bytes <= max)
        };
        let part = part(&download.source, chunk, download.size);
        let part = part.and_then(|part| if fits(&part) { Ok(part) } else { Err(Refusal::PayloadTooLarge) });
        if self.remembered.len() >= OTA_DOWNLOADS_REMEMBERED_MAX {
            self.remembered.remove(0);
        }
        self.remembered.push(download);
        part
    }
}

fn digest(kind: OtaKind, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, id).hash(&mut hasher);
    hasher.finish()
}

/// The file of the package that the device is to have now.
fn source(session: &Session, kind: OtaKind) -> Result<Rc<Source>, Refusal> {
    let package = session.worker.devices.ota_target(&session.device, kind).ok_or(Refusal::NotFound)?;
    match &package.content {
        OtaContent::File(file) => {
            Ok(Rc::new(Source { file: file.file, bytes: file.bytes, open: OnceCell::new() }))
        }
        OtaContent::Pending | OtaContent::Url { .. } => Err(Refusal::Failure),
    }
}

fn part(source: &Rc<Source>, chunk: u32, size: u64) -> Result<Part, Refusal> {
    let (offset, bytes) = cut(source.bytes, chunk, size).ok_or(Refusal::PayloadTooLarge)?;
    Ok(Part { source: source.clone(), offset, bytes })
}

/// Where a chunk lies in a file, and how long it is; `None` where the whole file is asked for, and is too large.
fn cut(file: u64, chunk: u32, size: u64) -> Option<(u64, u64)> {
    if size == 0 {
        return (file <= OTA_WHOLE_BYTES_MAX).then_some((0, file));
    }
    let offset = u64::from(chunk).saturating_mul(size).min(file);
    Some((offset, size.min(file - offset)))
}

/// Answers what waits, until nothing does.
async fn serve(session: Rc<Session>) {
    while let Some(request) = session.downloads.next(&session) {
        if !session.downloads.until(&session, deliver::has_room).await {
            return;
        }
        match request.part {
            Ok(ref part) if part.bytes == 0 => answer(&session, &request, Bytes::new()),
            Ok(ref part) => {
                let readers = session.worker.readers.clone();
                // Given back when the device has taken the part: until then it takes up memory.
                let place = readers.place(part.bytes).await;
                match fetch(&session, &readers, part).await {
                    _ if session.downloads.is_over() => return,
                    Ok(bytes) => answer(&session, &request, bytes),
                    Err(refusal) => refuse(&session, request.kind, refusal),
                }
                let taken = timeout(
                    Seconds(OTA_PART_TIMEOUT_S),
                    session.downloads.until(&session, deliver::has_taken),
                )
                .await;
                drop(place);
                if taken.is_err() {
                    session.worker.counters.ota_timeouts.count();
                    session.close(Close::Inactive);
                }
            }
            Err(refusal) => refuse(&session, request.kind, refusal),
        }
    }
}

async fn fetch(session: &Session, readers: &Readers, part: &Part) -> Result<Bytes, Refusal> {
    let Part { source, offset, bytes } = part;
    match readers.read(source.file, source.open.get().cloned(), *offset, *bytes).await {
        Ok((file, bytes)) => {
            // Another download of the session may have opened it meanwhile; it is the same file.
            source.open.get_or_init(|| file);
            Ok(bytes)
        }
        Err(error) => {
            tracing::error!(device = %session.device.id(), %error, "A package cannot be read.");
            Err(Refusal::Failure)
        }
    }
}

fn answer(session: &Session, request: &Request, bytes: Bytes) {
    let counters = &session.worker.counters;
    counters.ota_parts.count();
    counters.ota_bytes.add(bytes.len() as u64);
    let topic = ota_response_topic(request.kind, &request.id, request.chunk);
    deliver::publish(session, topic.into(), bytes);
}

fn refuse(session: &Session, kind: OtaKind, refusal: Refusal) {
    session.worker.counters.ota_refusals.count();
    let topic = ByteString::from_static(ota_error_topic(kind));
    deliver::publish(session, topic, Bytes::from_static(refusal.text().as_bytes()));
}

impl Downloads {
    /// The next request; the one before it is done.
    fn next(&self, session: &Session) -> Option<Request> {
        let mut state = self.0.borrow_mut();
        let state = state.as_mut()?;
        let done = state.serving.take();
        let next = state.waiting.pop_front();
        state.serving = next.as_ref().and_then(|next| next.place);
        state.is_running = next.is_some();
        if let Some(bytes) = done {
            session.window.leave(bytes);
        }
        next
    }

    /// Resolves when it is so, which it may be after the device has taken something; or with `false` when the session
    /// has ended.
    async fn until(&self, session: &Session, is_so: fn(&Session) -> bool) -> bool {
        poll_fn(|context| {
            let mut state = self.0.borrow_mut();
            let Some(state) = state.as_mut().filter(|state| !state.is_over) else {
                return Poll::Ready(false);
            };
            let is_so = is_so(session);
            state.is_owed = !is_so && !session.line.is_blocked();
            if is_so {
                return Poll::Ready(true);
            }
            state.room.register(context.waker());
            if state.is_owed {
                state.take_places().into_iter().for_each(|bytes| session.window.leave(bytes));
            }
            Poll::Pending
        })
        .await
    }

    fn is_over(&self) -> bool {
        self.0.borrow().as_ref().is_none_or(|state| state.is_over)
    }

    /// The device has taken something.
    pub(crate) fn wake(&self) {
        if let Some(state) = self.0.borrow().as_ref() {
            state.room.wake();
        }
    }

    /// The session has ended: nothing is answered any more.
    pub(crate) fn stop(&self, session: &Session) {
        let places = match self.0.borrow_mut().as_mut() {
            None => return,
            Some(state) => {
                state.is_over = true;
                state.room.wake();
                let places = state.take_places();
                state.waiting.clear();
                places
            }
        };
        places.into_iter().for_each(|bytes| session.window.leave(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_size(payload: &str, expected: Option<u64>) {
        assert_eq!(wanted_bytes(payload.as_bytes()).ok(), expected, "{payload:?}");
    }

    #[test]
    fn a_size_is_a_decimal_number() {
        for (payload, size) in [("400", 400), ("+5", 5), ("", 0), ("0", 0), ("-7", 0), ("00065536", 65_536)] {
            check_size(payload, Some(size));
        }
        check_size("99999999999999999999999", Some(u64::MAX));
        for payload in ["abc", "-", "+", "4 ", "1.5", "0x10", "1e3", "٣"] {
            check_size(payload, None);
        }
    }

    #[track_caller]
    fn check_cut(file: u64, chunk: u32, size: u64, expected: Option<(u64, u64)>) {
        assert_eq!(cut(file, chunk, size), expected, "chunk {chunk} of {size} in {file}");
    }

    // 274, 275, 277
    #[test]
    fn a_chunk_lies_at_its_number_times_the_size() {
        check_cut(1_000, 0, 400, Some((0, 400)));
        check_cut(1_000, 1, 400, Some((400, 400)));
        check_cut(1_000, 2, 400, Some((800, 200)));
        check_cut(1_000, 3, 400, Some((1_000, 0)));
        check_cut(1_000, 1, 1_000, Some((1_000, 0)));
        check_cut(1_000, i32::MAX.unsigned_abs(), 65_536, Some((1_000, 0)));
        check_cut(1_000, 7, 0, Some((0, 1_000)));
        check_cut(OTA_WHOLE_BYTES_MAX, 0, 0, Some((0, OTA_WHOLE_BYTES_MAX)));
        check_cut(OTA_WHOLE_BYTES_MAX + 1, 0, 0, None);
        check_cut(0, 0, 0, Some((0, 0)));
    }

    // 283: kind and request id belong together
    #[test]
    fn firmware_and_software_do_not_share_a_request_id() {
        assert_ne!(digest(OtaKind::Firmware, "1"), digest(OtaKind::Software, "1"));
        assert_ne!(digest(OtaKind::Firmware, "1"), digest(OtaKind::Firmware, "01"));
    }
}
