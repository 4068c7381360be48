//! Dead letters: payloads that were not decoded. Listed newest first, shown with a hex dump, deleted, exported.

use std::fmt::Write as _;

use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wireglot_device::{DeviceError, LetterFilter};
use wireglot_model::limits::PAGE_ITEMS_MAX;
use wireglot_model::{CodecName, DeadLetter, FailureStage, Timestamp};

use crate::Api;
use crate::error::{ApiError, ErrorBody, chain};
use crate::openapi::{params, schemas};
use crate::request::{Params, blocking, carried_through};
use crate::shape::entity;
use crate::telemetry::codec;

/// Letters where nobody says how many.
const LIMIT: usize = 100;
/// Letters that are read, and deleted, at once.
const LETTERS_PER_BITE: usize = 256;
/// Bytes in a row of a hex dump.
const DUMP_ROW: usize = 16;
/// What says which letters.
const FILTERS: [&str; 6] = ["deviceName", "deviceProfileName", "codec", "stage", "since", "until"];
/// Lines of an export that wait for a slow client.
const EXPORT_LINES: usize = 64;

/// Lists dead letters, newest first.
#[utoipa::path(
    get,
    path = "/api/dead-letters",
    operation_id = "listDeadLetters",
    tag = "Dead letters",
    params(
        params::LetterQuery,
        ("before" = Option<u64>, Query, description = "Only letters with a lower number: the next page after this one."),
        ("limit" = Option<u64>, Query, description = "How many at most; 100 where nothing is said, never more than 1000."),
    ),
    responses(
        (status = 200, description = "The letters.", body = Vec<schemas::Letter>),
        (status = 404, description = "There is no device or profile of this name.", body = ErrorBody),
    ),
)]
pub(crate) async fn list(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    let filter = filter(&api, &params, &["before", "limit"])?;
    let before = params.parsed("before")?;
    let limit: usize = params.parsed("limit")?.unwrap_or(LIMIT);
    if limit == 0 {
        return Err(ApiError::bad_request("'limit' must be greater than 0"));
    }
    let limit = limit.min(PAGE_ITEMS_MAX);
    let devices = api.devices.clone();
    let found = blocking(move || devices.dead_letters(&filter, before, limit)).await?;
    Ok(Json(found.iter().map(|(sequence, letter)| write(*sequence, letter)).collect()))
}

/// Shows a dead letter, with a hex dump of its bytes.
#[utoipa::path(
    get,
    path = "/api/dead-letters/{sequence}",
    operation_id = "readDeadLetter",
    tag = "Dead letters",
    params(("sequence" = u64, Path, description = "Number of the dead letter.")),
    responses((status = 200, description = "The letter.", body = schemas::Letter)),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    Path(sequence): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let sequence = number(&sequence)?;
    let devices = api.devices.clone();
    let letter =
        blocking(move || devices.dead_letter(sequence)).await.map_err(|error| gone(error, sequence))?;
    let mut shape = write(sequence, &letter);
    if let Some(members) = shape.as_object_mut() {
        members.insert("hexDump".to_owned(), json!(hex_dump(&letter.payload)));
    }
    Ok(Json(shape))
}

/// Deletes a dead letter.
#[utoipa::path(
    delete,
    path = "/api/dead-letters/{sequence}",
    operation_id = "deleteDeadLetter",
    tag = "Dead letters",
    params(("sequence" = u64, Path, description = "Number of the dead letter.")),
    responses((status = 200, description = "Done.")),
)]
pub(crate) async fn delete(State(api): State<Api>, Path(sequence): Path<String>) -> Result<(), ApiError> {
    let sequence = number(&sequence)?;
    let devices = api.devices.clone();
    blocking(move || devices.dead_letter(sequence)).await.map_err(|error| gone(error, sequence))?;
    let devices = api.devices.clone();
    carried_through(async move { devices.delete_dead_letters(&[sequence]).await }).await
}

/// Deletes the dead letters that filters choose, or all.
#[utoipa::path(
    delete,
    path = "/api/dead-letters",
    operation_id = "deleteDeadLetters",
    tag = "Dead letters",
    params(
        params::LetterQuery,
        ("all" = Option<bool>, Query, description = "Needed where no filter is given."),
    ),
    responses(
        (status = 200, description = "How many were deleted.", body = schemas::Deleted),
        (status = 404, description = "There is no device or profile of this name.", body = ErrorBody),
    ),
)]
pub(crate) async fn delete_many(State(api): State<Api>, params: Params) -> Result<Json<Value>, ApiError> {
    let filter = filter(&api, &params, &["all"])?;
    if filter == LetterFilter::default() && !params.is_set("all") {
        return Err(ApiError::bad_request(
            "Say which: deviceName, deviceProfileName, codec, stage, since or until; or all=true for every dead letter",
        ));
    }
    let devices = api.devices.clone();
    let deleted = carried_through(async move {
        let mut deleted = 0;
        for some in devices.dead_letter_sequences(&filter).chunks(LETTERS_PER_BITE) {
            let (reader, filter, some) = (devices.clone(), filter.clone(), some.to_vec());
            let read = tokio::task::spawn_blocking(move || reader.dead_letters_of(&filter, &some)).await;
            let found = read.map_err(|broken| DeviceError::NotAccepted(broken.to_string()))??;
            let found: Vec<u64> = found.into_iter().map(|(sequence, _)| sequence).collect();
            devices.delete_dead_letters(&found).await?;
            deleted += found.len();
        }
        Ok(deleted)
    });
    Ok(Json(json!({"deleted": deleted.await?})))
}

/// Exports dead letters: one JSON object per line, oldest first.
#[utoipa::path(
    get,
    path = "/api/dead-letters/export",
    operation_id = "exportDeadLetters",
    tag = "Dead letters",
    params(params::LetterQuery),
    responses(
        (status = 200, description = "The letters.", body = String, content_type = "application/x-ndjson"),
        (status = 404, description = "There is no device or profile of this name.", body = ErrorBody),
    ),
)]
pub(crate) async fn export(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let filter = filter(&api, &params, &[])?;
    let (lines, mut exported) = mpsc::channel::<Result<Bytes, std::io::Error>>(EXPORT_LINES);
    let devices = api.devices.clone();
    tokio::task::spawn_blocking(move || {
        for some in devices.dead_letter_sequences(&filter).chunks(LETTERS_PER_BITE) {
            let found = devices.dead_letters_of(&filter, some).map_err(|error| {
                tracing::error!(error = chain(&error), "An export of dead letters broke off.");
                std::io::Error::other(error)
            });
            let lines_of = |(sequence, letter): (u64, DeadLetter)| {
                Ok(Bytes::from(format!("{}\n", write(sequence, &letter))))
            };
            let found = match found {
                Ok(found) => found.into_iter().map(lines_of).collect(),
                Err(error) => vec![Err(error)],
            };
            for line in found {
                let is_last = line.is_err();
                // The client left, or was told that the rest is missing.
                if lines.blocking_send(line).is_err() || is_last {
                    return;
                }
            }
        }
    });
    let body = futures_util::stream::poll_fn(move |context| exported.poll_recv(context));
    let headers = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CONTENT_DISPOSITION, "attachment; filename=\"dead-letters.ndjson\""),
    ];
    Ok((headers, HttpBody::from_stream(body)).into_response())
}

/// Which letters a request is about. One that names something else is refused: it would be about more letters than it
/// was meant to be.
fn filter(api: &Api, params: &Params, others: &[&str]) -> Result<LetterFilter, ApiError> {
    params.only(&[&FILTERS[..], others].concat())?;
    let device = match params.text("deviceName") {
        Some(name) => {
            let unknown = || ApiError::unknown(format!("There is no device '{name}'"));
            Some(api.devices.device_by_name(name).ok_or_else(unknown)?.id())
        }
        None => None,
    };
    let profile = match params.text("deviceProfileName") {
        Some(name) => {
            let unknown = || ApiError::unknown(format!("There is no device profile '{name}'"));
            Some(api.devices.profile_by_name(name).ok_or_else(unknown)?.profile.id)
        }
        None => None,
    };
    let codec = match params.text("codec") {
        Some(name) => Some(CodecName::parse(name).map_err(|error| {
            ApiError::bad_request(format!("Invalid value of parameter 'codec': {error}"))
        })?),
        None => None,
    };
    let stage = params.text("stage").map(stage).transpose()?;
    let time = |name| params.parsed(name).map(|time: Option<i64>| time.map(Timestamp));
    let (since, until) = (time("since")?, time("until")?);
    check_range(since, until)?;
    Ok(LetterFilter { device, profile, codec, stage, since, until })
}

/// A range that nothing can lie in is a mistake.
pub(crate) fn check_range(since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(), ApiError> {
    match (since, until) {
        (Some(since), Some(until)) if since >= until => {
            Err(ApiError::bad_request("'until' has to be later than 'since'"))
        }
        _ => Ok(()),
    }
}

fn gone(error: ApiError, sequence: u64) -> ApiError {
    let unknown = || ApiError::unknown(format!("There is no dead letter {sequence}"));
    if error.is_not_found() { unknown() } else { error }
}

/// A stage as it is written in letters.
pub(crate) fn stage(text: &str) -> Result<FailureStage, ApiError> {
    serde_json::from_value(json!(text)).map_err(|_unknown| {
        let known =
            wireglot_codec::FAILURE_STAGES.map(|stage| json!(stage).as_str().unwrap_or_default().to_owned());
        ApiError::bad_request(format!("'stage' is one of {}, not '{text}'", known.join(", ")))
    })
}

fn number(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| ApiError::bad_request(format!("A dead letter has a number, not '{text}'")))
}

fn write(sequence: u64, letter: &DeadLetter) -> Value {
    json!({
        "sequence": sequence,
        "deviceId": entity("DEVICE", letter.device),
        "deviceName": letter.device_name,
        "deviceProfileId": entity("DEVICE_PROFILE", letter.profile_id),
        "deviceProfileName": letter.profile,
        "topic": letter.topic,
        "payloadHex": hex::encode(&letter.payload),
        "envelope": letter.envelope,
        "receivedTs": letter.received.0,
        "codec": letter.codec.as_ref().map(codec),
        "stage": letter.stage,
        "reason": letter.reason,
    })
}

/// Offset, bytes, text: a row per sixteen bytes, as `hexdump -C` writes it.
fn hex_dump(payload: &[u8]) -> String {
    let mut dump = String::new();
    for (row, bytes) in payload.chunks(DUMP_ROW).enumerate() {
        let (mut digits, mut text) = (String::new(), String::new());
        for (place, byte) in bytes.iter().enumerate() {
            let gap = if place == DUMP_ROW / 2 { "  " } else { " " };
            write!(digits, "{gap}{byte:02x}").expect("a String takes all text");
            text.push(if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' });
        }
        writeln!(dump, "{:08x} {digits:<49}  |{text}|", row * DUMP_ROW).expect("a String takes all text");
    }
    dump
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hex_dump_reads_as_people_know_it() {
        let dump = hex_dump(b"\x00temperature=21.5\xff");
        let expected = "\
00000000  00 74 65 6d 70 65 72 61  74 75 72 65 3d 32 31 2e  |.temperature=21.|\n\
00000010  35 ff                                             |5.|\n";
        assert_eq!(dump, expected);
        assert_eq!(hex_dump(&[]), "");
    }
}
