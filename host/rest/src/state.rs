//! The state of a device, latest values and attributes, for who tells it: it may be far larger than any message, and clients
//! be slow, so a large one has its room among the answers that wait before it is read.

use tokio::sync::OwnedSemaphorePermit;
use wireglot_device::{DeviceError, Devices, Latest};
use wireglot_model::limits::LIVE_QUEUE_BYTES_MAX;
use wireglot_model::{Attribute, DeviceId, Scope};

use crate::Api;
use crate::error::ApiError;

/// What was read, and the room that it takes until it is sent; what is small needs none.
pub(crate) type Held<T> = (Vec<T>, Option<OwnedSemaphorePermit>);

/// The latest values of a device; without keys, all.
pub(crate) async fn latest(
    api: &Api,
    device: DeviceId,
    keys: Option<Vec<String>>,
) -> Result<Held<Latest>, ApiError> {
    let bytes = |latest: &Latest| size_of_val(latest) + latest.key.len() + latest.value.text_bytes();
    hold(api, bytes, move |devices| devices.latest(device, keys.as_deref())).await
}

/// The attributes of a device in these scopes; without keys, all.
pub(crate) async fn attributes(
    api: &Api,
    device: DeviceId,
    scopes: Vec<Scope>,
    keys: Option<Vec<String>>,
) -> Result<Held<Attribute>, ApiError> {
    let bytes = |held: &Attribute| size_of_val(held) + held.key.len() + held.value.text_bytes();
    let read = move |devices: &Devices| {
        let mut found = Vec::new();
        for scope in &scopes {
            found.extend(devices.attributes(device, *scope, keys.as_deref())?);
        }
        Ok(found)
    };
    hold(api, bytes, read).await
}

/// Reads; what proves large is let go, and read again when there is room for it.
async fn hold<T: Send + 'static>(
    api: &Api,
    bytes: fn(&T) -> usize,
    read: impl Fn(&Devices) -> Result<Vec<T>, DeviceError> + Clone + Send + 'static,
) -> Result<Held<T>, ApiError> {
    let (devices, first) = (api.devices.clone(), read.clone());
    let look = move || {
        let found = first(&devices)?;
        let bytes: usize = found.iter().map(bytes).sum();
        Ok(if bytes <= LIVE_QUEUE_BYTES_MAX { Ok(found) } else { Err(bytes) })
    };
    let bytes = match api.short_reads.read(look).await? {
        Ok(found) => return Ok((found, None)),
        Err(bytes) => bytes,
    };
    let room = api.unsent.room(bytes).await?;
    let devices = api.devices.clone();
    Ok((api.short_reads.read(move || read(&devices)).await?, Some(room)))
}
