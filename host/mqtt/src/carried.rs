//! A publish of a network server: a frame in an envelope, of a device that is not connected itself.
//!
//! The frame is its device's own: it is decoded by the codec of that device's profile and kept under that device, and
//! one connection may carry devices of many kinds. What is answered is the connection's business: its profile says how
//! a failure is told. What is kept to be decoded again is kept with its envelope, and taking that off again gives the same
//! frame at the same time.

use wireglot_codec::envelope::{self, Carried};
use wireglot_device::{DeviceHandle, Speaker};
use wireglot_model::{Timestamp, Wrapping};

use crate::limit;
use crate::profile::{ProfileView, Unread};
use crate::publish::{Incoming, Owed, Sender, bury, refuse_of, skip, take};
use crate::session::Session;
use crate::trace::{Seen, Told, Watch};

/// The path of one message, as in `publish.rs`.
pub(crate) fn receive(
    session: &Session,
    view: &ProfileView,
    wrapping: &Wrapping,
    incoming: &Incoming<'_>,
    received: Timestamp,
    owed: Owed,
) {
    let (envelope, on_failure) = (Some(wrapping.envelope), view.on_failure(incoming.qos));
    let bus = session.worker.ingest.bus();
    let watch = Watch::begin(bus);
    let (carried, device) = match open(session, wrapping, incoming, received) {
        Ok(Some(opened)) => opened,
        Ok(None) => return skip(session, owed),
        Err(unread) => {
            let device = &session.device;
            if let Some(watch) = watch {
                watch.failed(bus, &Told { device, view, incoming, received }, &unread);
            }
            let sender = Sender { device, view, envelope, frame_received: received, on_failure };
            return bury(session, &sender, incoming, received, unread, owed);
        }
    };
    let own = session.worker.view(device.profile());
    let frame_received = carried.received;
    let sender = Sender { device: &device, view: &own, envelope, frame_received, on_failure };
    let frame = Incoming { payload: &carried.payload, ..*incoming };
    let told = Told { device: &device, view: &own, incoming: &frame, received: frame_received };
    let (unread, owed) =
        match own.decode_brought(&session.worker, &device, &frame, frame_received, &carried.metadata) {
            Ok((decoded, codec)) => {
                if limit::decoded(session, Speaker::Child, &decoded, received).is_err() {
                    return refuse_of(session, &device, owed);
                }
                session.worker.hear_carried(&device, received);
                let seen = watch.and_then(|watch| watch.decoded(bus, &told, &decoded, Some(&codec)));
                let raw = own.keeps_raw.then(|| incoming.raw(&own, envelope));
                match take(session, &device, frame_received, &codec, decoded, raw, owed) {
                    Ok(()) => return Seen::tell(seen, bus),
                    Err((error, owed)) => (Unread::not_accepted(&error, Some(codec)), owed),
                }
            }
            Err(unread) => (unread, owed),
        };
    if let Some(watch) = watch {
        watch.failed(bus, &told, &unread);
    }
    bury(session, &sender, incoming, received, unread, owed);
}

/// Takes the frame out, and finds or makes its device.
fn open(
    session: &Session,
    wrapping: &Wrapping,
    incoming: &Incoming<'_>,
    received: Timestamp,
) -> Result<Option<(Carried, DeviceHandle)>, Unread> {
    let carried = envelope::unwrap(wrapping.envelope, incoming.topic, incoming.payload, received);
    let Some(carried) = carried.map_err(Unread::refused)? else { return Ok(None) };
    let name = carried.device_name(wrapping.names).map_err(Unread::refused)?;
    let devices = &session.worker.devices;
    let device = devices.carried(&session.device, wrapping, name, carried.dev_eui.as_deref(), received);
    let device = device.map_err(|error| Unread::not_accepted(&error, None))?;
    Ok(Some((carried, device)))
}
