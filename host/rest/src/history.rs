//! Histories, with or without aggregation (REST §2.5): read in one pass, written while they are read, bounded as a whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wireglot_device::{DeviceError, Devices, PointsQuery, Want};
use wireglot_model::limits::{ANSWERS_UNSENT_BYTES_MAX, HISTORY_ANSWER_BYTES_MAX, HISTORY_POINTS_MAX};
use wireglot_model::value::write_json_string;
use wireglot_model::{DeviceId, Timestamp, Value};

use crate::Api;
use crate::aggregate::{Aggregation, Running};
use crate::error::{ApiError, ErrorBody};
use crate::openapi::{params, schemas};
use crate::patience::WRITE_TIMEOUT;
use crate::request::{Params, entity};
use crate::telemetry::{Typing, write_point};

/// Points per key where nobody says how many.
pub(crate) const LIMIT: usize = 100;
/// What is given to the connection at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// About what a point takes beside its text.
const POINT_BYTES: usize = 48;
/// Room for answers is given out in pieces of this size.
const ROOM_BYTES: usize = 1_024;
/// How long an answer waits for room, which clients hold that do not take theirs.
pub(crate) const ROOM_PATIENCE: Duration = Duration::from_secs(20);
/// A client that takes an answer more slowly is cut off: the room that it holds is everybody's.
const ANSWER_BYTES_PER_SECOND_MIN: usize = 128 * 1024;

/// Gives the history of values of a device, or aggregates of it.
#[utoipa::path(
    get,
    path = "/api/plugins/telemetry/{entityType}/{entityId}/values/timeseries/history",
    operation_id = "readTelemetryHistory",
    tag = "Telemetry",
    params(params::EntityPath, params::Keys, params::Typing, params::TimeRange, params::HistoryFilter),
    responses(
        (status = 200, description = "The points by key; keys without points are left out.", body = schemas::Series),
        (status = 429, description = "Clients that are slow to take their answers leave no room; `Retry-After` says when to come again.", body = ErrorBody),
    ),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    Path((kind, device)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    let device = entity(&kind, &device)?;
    let wanted = Wanted::from_params(&params)?;
    let devices = api.devices.clone();
    let (answer, _turn) = api.long_reads.read_and_hold(move || wanted.read(&devices, device)).await?;
    // The turn lasts until there is room for the answer: so no more answers are made than there is memory for.
    api.unsent.send(answer).await
}

/// The points of histories as their parameters say, one after the other, for who writes them otherwise, and the room that
/// they take until they are sent. Keys without points are left out.
pub(crate) async fn points(
    api: &Api,
    device: DeviceId,
    histories: &[&Params],
) -> Result<(Vec<Series>, OwnedSemaphorePermit), ApiError> {
    let wanted = histories.iter().map(|params| Wanted::from_params(params));
    let wanted = wanted.collect::<Result<Vec<Wanted>, ApiError>>()?;
    let devices = api.devices.clone();
    let read = move || -> Result<Vec<Series>, DeviceError> {
        let mut found = Vec::new();
        for wanted in wanted {
            found.extend(wanted.points(&devices, device)?);
        }
        Ok(found)
    };
    let (found, _turn) = api.long_reads.read_and_hold(read).await?;
    let points = found.iter().flat_map(|(_, points)| points);
    let bytes = points.map(|(_, value)| POINT_BYTES + value.text_bytes()).sum();
    let room = api.unsent.room(bytes).await?;
    Ok((found, room))
}

/// A history as somebody asks for it.
struct Wanted {
    keys: Option<Vec<String>>,
    start: Timestamp,
    end: Timestamp,
    limit: usize,
    descending: bool,
    aggregation: Option<Aggregation>,
    typing: Typing,
}

impl Wanted {
    fn from_params(params: &Params) -> Result<Self, ApiError> {
        let (start, end) = (params.required("startTs")?, params.required("endTs")?);
        let limit = params.parsed("limit")?.unwrap_or(LIMIT);
        if limit == 0 {
            return Err(ApiError::bad_request("'limit' must be greater than 0"));
        }
        let descending = match params.text("orderBy").map(str::to_ascii_uppercase).as_deref() {
            None | Some("DESC") => true,
            Some("ASC") => false,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "Unsupported order '{other}'; there are ASC and DESC"
                )));
            }
        };
        let aggregation = Aggregation::from_params(params, start, end)?;
        Ok(Self {
            keys: params.keys(),
            start: Timestamp(start),
            end: Timestamp(end),
            limit,
            // Intervals come in the order of time, whatever the order of points is.
            descending: descending && aggregation.is_none(),
            aggregation,
            typing: params.typing()?,
        })
    }

    fn read(&self, devices: &Devices, device: DeviceId) -> Result<String, DeviceError> {
        let found = self.points(devices, device)?;
        let mut out = String::from("{");
        for (key, points) in &found {
            if out.len() > 1 {
                out.push(',');
            }
            write_json_string(key, &mut out);
            out.push_str(":[");
            for (index, (ts, value)) in points.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_point(*ts, Some(value), self.typing, &mut out);
                // Control characters take more room as they are written.
                if out.len() > HISTORY_ANSWER_BYTES_MAX {
                    return Err(too_much());
                }
            }
            out.push(']');
        }
        out.push('}');
        Ok(out)
    }

    /// The points of each key that has any, in the order of asking.
    fn points(&self, devices: &Devices, device: DeviceId) -> Result<Vec<Series>, DeviceError> {
        let keys = self.keys.clone().map_or_else(|| devices.keys(device), Ok)?;
        let mut lists: Vec<List<'_>> = keys.iter().map(|_| List::new(self.aggregation.as_ref())).collect();
        let Self { start, end, descending, .. } = *self;
        let query = PointsQuery { keys: keys.clone(), start, end, descending };
        let mut room = Room::default();
        devices.each_point(device, &query, &mut |place, ts, value| {
            let Some(list) = lists.get_mut(place) else { return Want::OtherKeys };
            list.take(ts, value, &mut room);
            if room.is_over() {
                Want::Nothing
            } else if list.running.is_none() && list.points.len() == self.limit {
                Want::OtherKeys
            } else {
                Want::More
            }
        })?;
        lists.iter_mut().for_each(|list| list.finish(&mut room));
        if room.is_over() {
            return Err(too_much());
        }
        let found = keys.into_iter().zip(lists.into_iter().map(|list| list.points));
        Ok(found.filter(|(_, points)| !points.is_empty()).collect())
    }
}

/// A key and its points.
pub(crate) type Series = (String, Vec<(Timestamp, Value)>);

fn too_much() -> DeviceError {
    DeviceError::TooMuch(format!(
        "An answer has at most {HISTORY_POINTS_MAX} points and {HISTORY_ANSWER_BYTES_MAX} bytes: ask for fewer keys, a \
         shorter range or a smaller limit, and go on after the last time that came"
    ))
}

/// What the lists of an answer take together.
#[derive(Default)]
struct Room {
    points: usize,
    bytes: usize,
}

impl Room {
    fn is_over(&self) -> bool {
        self.points > HISTORY_POINTS_MAX || self.bytes > HISTORY_ANSWER_BYTES_MAX
    }
}

/// The points of one key, as far as they have come.
struct List<'a> {
    points: Vec<(Timestamp, Value)>,
    running: Option<Running<'a>>,
}

impl<'a> List<'a> {
    fn new(aggregation: Option<&'a Aggregation>) -> Self {
        Self { points: Vec::new(), running: aggregation.map(Running::new) }
    }

    fn take(&mut self, ts: Timestamp, value: Value, room: &mut Room) {
        let point = match &mut self.running {
            None => Some((ts, value)),
            Some(running) => running.take(ts, value),
        };
        self.keep(point, room);
    }

    fn finish(&mut self, room: &mut Room) {
        let last = self.running.as_mut().and_then(Running::finish);
        self.keep(last, room);
    }

    fn keep(&mut self, point: Option<(Timestamp, Value)>, room: &mut Room) {
        let Some((ts, value)) = point else { return };
        room.points += 1;
        if let Value::Text(text) | Value::Json(text) = &value {
            room.bytes += text.len();
        }
        self.points.push((ts, value));
    }
}

/// Answers that clients have not taken yet.
pub(crate) struct Unsent {
    room: Arc<Semaphore>,
    /// How long an answer waits for room.
    patience: Duration,
}

impl Default for Unsent {
    fn default() -> Self {
        Self::new(ANSWERS_UNSENT_BYTES_MAX, ROOM_PATIENCE)
    }
}

impl Unsent {
    fn new(bytes: usize, patience: Duration) -> Self {
        Self { room: Arc::new(Semaphore::new(bytes / ROOM_BYTES)), patience }
    }

    /// Room for so many bytes, given back when it is dropped. Whoever finds none in time comes again: the turns of readers are
    /// held meanwhile.
    pub(crate) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let pieces = u32::try_from(bytes.div_ceil(ROOM_BYTES)).unwrap_or(u32::MAX);
        let most = u32::try_from(ANSWERS_UNSENT_BYTES_MAX / ROOM_BYTES).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(pieces.min(most));
        let room = tokio::time::timeout(self.patience, room).await;
        let room = room.map_err(|_elapsed| ApiError::too_many_requests(self.patience.as_secs().max(1)))?;
        room.map_err(|closed| ApiError::internal(&closed))
    }

    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.room.available_permits() * ROOM_BYTES
    }

    /// The answer, which gives its room back as it is sent, or when its connection is gone.
    async fn send(&self, answer: String) -> Result<Response, ApiError> {
        let room = self.room(answer.len()).await?;
        Ok(send(answer, room))
    }
}

/// How long a client may take what has its room: others wait for that.
pub(crate) fn time_to_take_all(room: &OwnedSemaphorePermit) -> Duration {
    time_to_take(room.num_permits() * ROOM_BYTES)
}

fn time_to_take(bytes: usize) -> Duration {
    let seconds = u64::try_from(bytes / ANSWER_BYTES_PER_SECOND_MIN).unwrap_or(u64::MAX);
    WRITE_TIMEOUT + Duration::from_secs(seconds)
}

/// An answer that has its room already.
pub(crate) fn send(answer: String, room: OwnedSemaphorePermit) -> Response {
    let length = answer.len();
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (CONTENT_LENGTH, length.to_string())];
    let rest = Rest { bytes: Bytes::from(answer), until: Instant::now() + time_to_take(length), room };
    let pieces = futures_util::stream::unfold(rest, async |rest| rest.piece());
    (headers, Body::from_stream(pieces)).into_response()
}

/// What is left of an answer, and its room.
struct Rest {
    bytes: Bytes,
    room: OwnedSemaphorePermit,
    /// From then on the client is too slow: others wait for the room.
    until: Instant,
}

impl Rest {
    /// The next piece, and what is left.
    fn piece(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        if self.bytes.is_empty() {
            return None;
        }
        if Instant::now() > self.until {
            self.bytes.clear();
            return Some((Err(std::io::ErrorKind::TimedOut.into()), self));
        }
        let piece = self.bytes.split_to(self.bytes.len().min(PIECE_BYTES));
        drop(self.room.split(piece.len() / ROOM_BYTES));
        Some((Ok(piece), self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_room_comes_again() {
        let unsent = Unsent::new(4 * ROOM_BYTES, Duration::from_millis(20));
        let held = unsent.send("x".repeat(3 * ROOM_BYTES)).await.unwrap();
        assert!(unsent.send("x".repeat(2 * ROOM_BYTES)).await.is_err());
        drop(held);
        assert!(unsent.send("x".repeat(4 * ROOM_BYTES)).await.is_ok());
    }

    #[tokio::test]
    async fn room_is_given_back_piece_by_piece_and_in_the_end_at_all_events() {
        let unsent = Unsent::new(ANSWERS_UNSENT_BYTES_MAX, Duration::ZERO);
        let free = || unsent.free_bytes();
        let room = unsent.room(3 * PIECE_BYTES).await.unwrap();
        let bytes = Bytes::from(vec![0; 3 * PIECE_BYTES]);
        let rest = Rest { bytes, room, until: Instant::now() + WRITE_TIMEOUT };
        let (piece, mut rest) = rest.piece().unwrap();
        assert_eq!((piece.unwrap().len(), free()), (PIECE_BYTES, ANSWERS_UNSENT_BYTES_MAX - 2 * PIECE_BYTES));
        rest.until = Instant::now();
        let (piece, rest) = rest.piece().unwrap();
        assert_eq!(piece.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert!(rest.piece().is_none());
        assert_eq!(free(), ANSWERS_UNSENT_BYTES_MAX);
    }
}
