//! Forms with a file: what is held of one in memory before its file begins is bounded, and the file is streamed.
//!
//! The parser of forms gathers all that it is given until it finds a boundary, or the end of a part's header. So while it
//! looks for one it is fed in small pieces, and with no more of them than a form needs before its file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, ready};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use futures_util::stream::{self, Stream, StreamExt as _};
use wireglot_model::limits::FORM_HEAD_BYTES_MAX;

use crate::error::ApiError;
use crate::request::BODY_TIMEOUT;

/// What the parser gets at once while it looks for something: so much it may hold unsearched.
const PIECE_BYTES: usize = 8 * 1024;

/// A form whose parts come one after the other.
pub(crate) struct Form {
    parts: Multipart,
    feed: Arc<Feed>,
}

/// How much the parser may still have of a form.
#[derive(Default)]
struct Feed {
    /// It looks for the next part, rather than for the bytes of the current one.
    is_looking: AtomicBool,
    /// What it got while it looked.
    bytes: AtomicUsize,
}

/// The form has too much in front of its file.
#[derive(Debug, thiserror::Error)]
#[error(
    "the form has more than {FORM_HEAD_BYTES_MAX} bytes before its file, parts and their headers together: is the \
     boundary in its Content-Type the one that stands in the body?"
)]
struct TooMuchAhead;

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let feed = Arc::new(Feed::default());
        let (head, body) = request.into_parts();
        let body = Body::from_stream(fed(body.into_data_stream(), feed.clone()));
        let parts = Multipart::from_request(Request::from_parts(head, body), state).await;
        let parts = parts.map_err(|refused| ApiError::bad_request(refused.body_text()))?;
        Ok(Self { parts, feed })
    }
}

impl Form {
    /// The next part; what was not read of the one before it counts among what stands in front of the file.
    pub(crate) async fn next_part(&mut self) -> Result<Option<Field<'_>>, ApiError> {
        self.feed.is_looking.store(true, Ordering::Relaxed);
        let part = arriving(self.parts.next_field()).await;
        self.feed.is_looking.store(false, Ordering::Relaxed);
        if part.is_err() && self.feed.is_used_up() {
            return Err(ApiError::bad_request(TooMuchAhead.to_string()));
        }
        part
    }
}

impl Feed {
    /// Counts a piece, if it may still be had.
    fn takes(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= FORM_HEAD_BYTES_MAX
    }

    fn is_used_up(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > FORM_HEAD_BYTES_MAX
    }
}

/// The body as the parser gets it.
fn fed(mut body: BodyDataStream, feed: Arc<Feed>) -> impl Stream<Item = Result<Bytes, axum::BoxError>> {
    let mut held = Bytes::new();
    let mut has_fed = false;
    stream::poll_fn(move |context| {
        let is_looking = feed.is_looking.load(Ordering::Relaxed);
        // The parser takes whatever it can get before it looks at it.
        if is_looking && std::mem::take(&mut has_fed) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if held.is_empty() {
            match ready!(body.poll_next_unpin(context)) {
                Some(Ok(bytes)) => held = bytes,
                other => return Poll::Ready(other.map(|end| end.map_err(Into::into))),
            }
        }
        if !is_looking {
            return Poll::Ready(Some(Ok(std::mem::take(&mut held))));
        }
        let piece = held.split_to(held.len().min(PIECE_BYTES));
        has_fed = true;
        let is_allowed = feed.takes(piece.len());
        Poll::Ready(Some(if is_allowed { Ok(piece) } else { Err(TooMuchAhead.into()) }))
    })
}

/// Waits for a piece of a form, but not for ever.
pub(crate) async fn arriving<T>(
    piece: impl Future<Output = Result<T, MultipartError>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(BODY_TIMEOUT, piece).await {
        Err(_elapsed) => Err(ApiError::too_slow()),
        Ok(piece) => piece.map_err(|broken| ApiError::bad_request(broken.body_text())),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    const FILE: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";

    /// The form as one that comes in frames of this size, as far as it is asked for; and how much of it was.
    async fn read(body: String, frame_bytes: usize) -> (Result<usize, String>, usize) {
        let asked = Arc::new(AtomicUsize::new(0));
        let frames = stream::unfold(Bytes::from(body), {
            let asked = asked.clone();
            move |mut left| {
                let frame = left.split_to(left.len().min(frame_bytes));
                asked.fetch_add(frame.len(), Ordering::Relaxed);
                async move { (!frame.is_empty()).then_some((Ok::<_, std::io::Error>(frame), left)) }
            }
        });
        let request = Request::builder().header(CONTENT_TYPE, "multipart/form-data; boundary=b");
        let request = request.body(Body::from_stream(frames)).unwrap();
        let mut form = Form::from_request(request, &()).await.map_err(|_| "no form").unwrap();
        let read = file_bytes(&mut form).await.map_err(|refused| format!("{refused:?}"));
        (read, asked.load(Ordering::Relaxed))
    }

    async fn file_bytes(form: &mut Form) -> Result<usize, ApiError> {
        while let Some(mut part) = form.next_part().await? {
            if part.name() == Some("file") {
                let mut bytes = 0;
                while let Some(piece) = arriving(part.chunk()).await? {
                    bytes += piece.len();
                }
                return Ok(bytes);
            }
        }
        Ok(0)
    }

    #[tokio::test]
    async fn a_file_is_as_long_as_it_likes_and_comes_after_what_is_short() {
        let before = FORM_HEAD_BYTES_MAX - 3 * PIECE_BYTES;
        for (preamble, other) in [(0, 0), (before, 0), (0, before)] {
            for frame_bytes in [100, PIECE_BYTES, 1024 * 1024] {
                let body = format!(
                    "{}\r\n--b\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\n{}\r\n--b\r\n{FILE}{}\r\n--b--\r\n",
                    "p".repeat(preamble),
                    "t".repeat(other),
                    "x".repeat(4 * FORM_HEAD_BYTES_MAX),
                );
                let (read, _) = read(body, frame_bytes).await;
                assert_eq!(read, Ok(4 * FORM_HEAD_BYTES_MAX), "{preamble} {other} {frame_bytes}");
            }
        }
    }

    #[tokio::test]
    async fn what_has_too_much_in_front_of_its_file_is_not_read_on() {
        let much = "x".repeat(16 * FORM_HEAD_BYTES_MAX);
        let bodies = [
            much.clone(),
            format!("--b\r\nContent-Disposition: form-data; name=\"{much}"),
            format!(
                "--b\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\n{much}\r\n--b\r\n{FILE}x\r\n--b--\r\n"
            ),
        ];
        for body in bodies {
            let (read, asked) = read(body, PIECE_BYTES).await;
            let refusal = read.expect_err("too much");
            assert!(refusal.contains("boundary in its Content-Type"), "{refusal}");
            assert!(asked <= FORM_HEAD_BYTES_MAX + 2 * PIECE_BYTES, "{asked} bytes were taken");
        }
    }
}
