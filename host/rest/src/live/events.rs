//! Streams of events (server-sent events): the state of some devices, and every change of it from then on.
//!
//! A change has the form of the state, so a client needs one rule for both. There are no ids: what a client missed while it
//! was away is in the state that it gets when it comes back, and in the history.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event as SseEvent, KeepAlive};
use futures_util::Stream;
use serde_json::{Map, Value as Json, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use wireglot_bus::{Event, FeedItem, Follower, Kinds};
use wireglot_device::DeviceHandle;
use wireglot_model::limits::{LIVE_KEYS_MAX, LIVE_SUBSCRIPTIONS_MAX};
use wireglot_model::{Attribute, DeviceId, Sample, Scope, Timestamp, Value};

use super::{Guest, PERIOD, SEND_TIMEOUT, stop};
use crate::Api;
use crate::attributes::{scope_name, scope_of};
use crate::error::{ApiError, ErrorBody};
use crate::history::time_to_take_all;
use crate::request::{Params, id};
use crate::state::{self, Held};
use crate::trace::value_json;

const PARAMETERS: [&str; 6] = ["deviceId", "deviceName", "events", "keys", "key", "scope"];
const TELEMETRY: &str = "telemetry";
const ATTRIBUTES: &str = "attributes";
const CONNECTION: &str = "connection";
const EVENTS: [&str; 3] = [TELEMETRY, ATTRIBUTES, CONNECTION];
/// Events that wait for a connection that is being written to.
const EVENTS_READY: usize = 16;

/// Tells the state of some devices and every change of it, as server-sent events.
///
/// The state is whole with the event `live`. Changes are `telemetry`, `attributes` and `connection`; `lost` says that some are
/// missing and the state follows again, `gone` that a device was deleted or taken away, `ended` that the user may not
/// listen any more.
#[utoipa::path(
    get,
    path = "/api/events",
    operation_id = "listenToEvents",
    tag = "Live",
    params(
        ("deviceId" = Option<String>, Query, description = "Ids of devices, with commas between them; may be repeated."),
        ("deviceName" = Option<String>, Query, description = "The name of a device; may be repeated."),
        ("events" = Option<String>, Query, description = "Which events, with commas between them: telemetry, attributes, connection. All where nothing is said."),
        ("keys" = Option<String>, Query, description = "Only these keys, with commas between them."),
        ("key" = Option<String>, Query, description = "Only this key, which may have commas; may be repeated."),
        ("scope" = Option<String>, Query, description = "Only attributes of this scope: CLIENT_SCOPE, SHARED_SCOPE or SERVER_SCOPE."),
    ),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream"),
        (status = 404, description = "There is no such device.", body = ErrorBody),
        (status = 429, description = "Too many live feeds are open; `Retry-After` says when to try again.", body = ErrorBody),
    ),
)]
pub(crate) async fn listen(
    State(api): State<Api>,
    headers: HeaderMap,
    params: Params,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    params.only(&PARAMETERS)?;
    let wanted = Wanted::from_params(&params)?;
    // Of the headers only those that prove who it is.
    let names = ["x-authorization", "authorization"];
    let shown = headers.iter().filter(|(name, _)| names.contains(&name.as_str()));
    let shown = shown.map(|(name, value)| (name.clone(), value.clone())).collect();
    let guest = Guest::admit(&api, shown)?;
    let devices = devices(&api, &guest, &params)?;
    let (out, mut ready) = mpsc::channel(EVENTS_READY);
    let mut follower = api.devices.follower();
    for device in &devices {
        follower.follow(device.id(), wanted.kinds());
    }
    let devices = devices.into_iter().map(|device| (device.id(), Watched { device, is_connected: None }));
    let devices = devices.collect();
    let teller = Teller { guest, follower, devices, wanted, out, api, checked: Instant::now(), due: None };
    // It ends with its receiver, which is dropped with the connection.
    tokio::spawn(teller.run());
    let events =
        futures_util::stream::poll_fn(move |context| ready.poll_recv(context).map(|event| event.map(Ok)));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// The devices that a request names, each once.
fn devices(api: &Api, guest: &Guest, params: &Params) -> Result<Vec<DeviceHandle>, ApiError> {
    let mut devices: BTreeMap<DeviceId, DeviceHandle> = BTreeMap::new();
    for text in params.all("deviceId").flat_map(|ids| ids.split(',')).filter(|text| !text.is_empty()) {
        let device = guest.device(api.devices.device(id(text.trim())?))?;
        devices.insert(device.id(), device);
    }
    for name in params.all("deviceName") {
        let found = api.devices.device_by_name(name);
        let unknown = || ApiError::unknown(format!("There is no device '{name}'"));
        let device =
            guest.device(found).map_err(|error| if error.is_not_found() { unknown() } else { error })?;
        devices.insert(device.id(), device);
    }
    match devices.len() {
        0 => Err(ApiError::bad_request("Say which devices: deviceId or deviceName, which may be repeated")),
        1..=LIVE_SUBSCRIPTIONS_MAX => Ok(devices.into_values().collect()),
        _ => Err(ApiError::bad_request(format!("A stream has at most {LIVE_SUBSCRIPTIONS_MAX} devices"))),
    }
}

/// What of the devices is told.
struct Wanted {
    telemetry: bool,
    attributes: bool,
    connection: bool,
    /// `None`: all.
    keys: Option<Vec<String>>,
    scope: Option<Scope>,
}

impl Wanted {
    fn from_params(params: &Params) -> Result<Self, ApiError> {
        let keys = params.keys();
        if keys.as_ref().is_some_and(|keys| keys.len() > LIVE_KEYS_MAX) {
            return Err(ApiError::bad_request(format!("A stream names at most {LIVE_KEYS_MAX} keys")));
        }
        let scope = params.text("scope").map(scope_of).transpose()?;
        let names: Vec<&str> =
            params.text("events").map_or(EVENTS.to_vec(), |names| names.split(',').collect());
        if let Some(unknown) = names.iter().find(|name| !EVENTS.contains(name)) {
            let known = EVENTS.join(", ");
            return Err(ApiError::bad_request(format!(
                "There is no event '{unknown}'; the events are {known}"
            )));
        }
        let has = |name| names.contains(&name);
        let (telemetry, attributes, connection) = (has(TELEMETRY), has(ATTRIBUTES), has(CONNECTION));
        Ok(Self { telemetry, attributes, connection, keys, scope })
    }

    fn kinds(&self) -> Kinds {
        let kinds = [
            (self.telemetry, Kinds::TELEMETRY),
            (self.attributes, Kinds::ATTRIBUTES),
            (self.connection, Kinds::CONNECTED.and(Kinds::DISCONNECTED)),
        ];
        let kinds = kinds.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, kinds)| kinds);
        kinds.reduce(Kinds::and).expect("a list of names has one at least, and each is known")
    }

    fn has_key(&self, key: &str) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.iter().any(|wanted| wanted == key))
    }

    fn has_scope(&self, scope: Scope) -> bool {
        self.scope.is_none_or(|wanted| wanted == scope)
    }
}

struct Watched {
    device: DeviceHandle,
    /// As it was told last.
    is_connected: Option<bool>,
}

/// Tells one client; ends when it leaves, may not listen any more, or reads too slowly.
struct Teller {
    api: Api,
    guest: Guest,
    follower: Follower,
    devices: BTreeMap<DeviceId, Watched>,
    wanted: Wanted,
    out: mpsc::Sender<SseEvent>,
    /// When it was last asked who may listen.
    checked: Instant,
    /// Until when what is being told has its room.
    due: Option<Instant>,
}

/// The stream is over.
struct Ended;

impl Teller {
    async fn run(mut self) {
        // Whatever ended it has been told, or there is nobody to tell.
        while self.tell_and_follow().await.is_ok() {}
    }

    /// The state, then what changes it; returns when the state has to be told anew.
    async fn tell_and_follow(&mut self) -> Result<(), Ended> {
        let began = Instant::now();
        self.api.devices.settled().await;
        let ids: Vec<DeviceId> = self.devices.keys().copied().collect();
        for device in ids {
            self.check().await?;
            self.tell_state(device).await?;
        }
        self.send("live", json!({"devices": self.devices.len()})).await?;
        let mut clock = interval(PERIOD);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = self.api.stopping.clone();
        loop {
            tokio::select! {
                item = self.follower.recv() => match item {
                    FeedItem::Event(event) => {
                        self.check().await?;
                        self.tell(&event).await?;
                    }
                    FeedItem::Missed(events) => {
                        self.send("lost", json!({"events": events})).await?;
                        sleep_until(began + PERIOD).await;
                        return Ok(());
                    }
                },
                _ = clock.tick() => self.check().await?,
                () = self.out.closed() => return Err(Ended),
                () = stop(&mut stopping) => return Err(Ended),
            }
        }
    }

    /// Ends the stream of a user who may not listen any more, and leaves devices that the user may not see.
    async fn check(&mut self) -> Result<(), Ended> {
        self.checked = Instant::now();
        if let Err(refused) = self.guest.ask_again(&self.api) {
            self.send("ended", json!({"reason": refused.message()})).await?;
            return Err(Ended);
        }
        let may_see = |watched: &Watched| self.guest.may_see(&watched.device);
        let lost: Vec<(DeviceId, ApiError)> =
            self.devices.iter().filter_map(|(id, watched)| Some((*id, may_see(watched).err()?))).collect();
        for (device, refused) in lost {
            self.follower.leave(device);
            self.devices.remove(&device);
            let reason = if refused.is_not_found() { "The device was deleted" } else { refused.message() };
            self.send("gone", json!({"deviceId": device.to_string(), "reason": reason})).await?;
        }
        if self.devices.is_empty() { Err(Ended) } else { Ok(()) }
    }

    /// Whether a device that may take long to tell may still be told.
    async fn may_go_on(&mut self, device: DeviceId) -> Result<bool, Ended> {
        if self.checked.elapsed() >= PERIOD {
            self.check().await?;
        }
        Ok(self.devices.contains_key(&device))
    }

    async fn tell_state(&mut self, id: DeviceId) -> Result<(), Ended> {
        let Some(watched) = self.devices.get_mut(&id) else { return Ok(()) };
        watched.is_connected = None;
        let device = watched.device.clone();
        if self.wanted.connection {
            self.tell_connection(id, None).await?;
        }
        if self.wanted.attributes {
            for scope in Scope::ALL {
                if !self.wanted.has_scope(scope) {
                    continue;
                }
                let keys = self.wanted.keys.clone();
                let read = state::attributes(&self.api, id, vec![scope], keys).await;
                let (held, _room) = self.found(read).await?;
                self.tell_attributes(&device, scope, held).await?;
                self.due = None;
            }
        }
        if self.wanted.telemetry {
            let read = state::latest(&self.api, id, self.wanted.keys.clone()).await;
            let (found, _room) = self.found(read).await?;
            let mut by_time: BTreeMap<Timestamp, Vec<Sample>> = BTreeMap::new();
            for latest in found {
                let sample = Sample { key: latest.key, value: latest.value };
                by_time.entry(latest.ts).or_default().push(sample);
            }
            for (ts, samples) in by_time {
                if !self.may_go_on(id).await? {
                    break;
                }
                self.tell_telemetry(&device, ts, &samples).await?;
            }
            self.due = None;
        }
        Ok(())
    }

    /// What was read of a device; nothing of one that was deleted just now, which the next check will tell.
    async fn found<T>(&mut self, read: Result<Held<T>, ApiError>) -> Result<Held<T>, Ended> {
        match read {
            Ok((found, room)) => {
                self.due = room.as_ref().map(|room| Instant::now() + time_to_take_all(room));
                Ok((found, room))
            }
            Err(error) if error.is_not_found() => Ok((Vec::new(), None)),
            // Clients come again by themselves, where nobody tells them that they may not.
            Err(error) if error.is_too_many() => Err(Ended),
            Err(error) => {
                self.send("ended", json!({"reason": error.message()})).await?;
                Err(Ended)
            }
        }
    }

    async fn tell(&mut self, event: &Event) -> Result<(), Ended> {
        let known = |id: &DeviceId| self.devices.get(id).map(|watched| watched.device.clone());
        match event {
            Event::Telemetry { device, ts, samples, .. } => match known(device) {
                Some(device) => self.tell_telemetry(&device, *ts, samples).await,
                None => Ok(()),
            },
            Event::Attributes { device, scope, samples, .. } => match known(device) {
                Some(device) => {
                    let keys = samples.iter().map(|sample| sample.key.clone()).collect();
                    self.tell_changed(&device, *scope, keys).await
                }
                None => Ok(()),
            },
            Event::AttributesDeleted { device, scope, keys, .. } => match known(device) {
                Some(device) => self.tell_changed(&device, *scope, keys.clone()).await,
                None => Ok(()),
            },
            Event::Connected { device, ts, .. } | Event::Disconnected { device, ts, .. } => {
                self.tell_connection(*device, Some(*ts)).await
            }
            Event::Decoded { .. } | Event::Failed { .. } => Ok(()),
        }
    }

    async fn tell_telemetry(
        &mut self,
        device: &DeviceHandle,
        ts: Timestamp,
        samples: &[Sample],
    ) -> Result<(), Ended> {
        let wanted = samples.iter().filter(|sample| self.wanted.has_key(&sample.key));
        let values = values(wanted.map(|sample| (sample.key.clone(), &sample.value)));
        if values.is_empty() {
            return Ok(());
        }
        self.send(TELEMETRY, about(device, json!({"ts": ts.0, "values": values}))).await
    }

    /// Attributes are told as they are now: what an event says of them may have been replaced since.
    async fn tell_changed(
        &mut self,
        device: &DeviceHandle,
        scope: Scope,
        mut keys: Vec<String>,
    ) -> Result<(), Ended> {
        if !self.wanted.has_scope(scope) {
            return Ok(());
        }
        keys.retain(|key| self.wanted.has_key(key));
        let held = self.api.devices.attributes(device.id(), scope, Some(&keys)).unwrap_or_default();
        keys.retain(|key| held.iter().all(|attribute| attribute.key != *key));
        self.tell_attributes(device, scope, held).await?;
        if keys.is_empty() {
            return Ok(());
        }
        self.send(ATTRIBUTES, about(device, json!({"scope": scope_name(scope), "deleted": keys}))).await
    }

    async fn tell_attributes(
        &mut self,
        device: &DeviceHandle,
        scope: Scope,
        held: Vec<Attribute>,
    ) -> Result<(), Ended> {
        let mut by_time: BTreeMap<Timestamp, Vec<Attribute>> = BTreeMap::new();
        for attribute in held {
            by_time.entry(attribute.updated).or_default().push(attribute);
        }
        for (ts, held) in by_time {
            if !self.may_go_on(device.id()).await? {
                break;
            }
            let values = values(held.iter().map(|attribute| (attribute.key.clone(), &attribute.value)));
            let more = json!({"ts": ts.0, "scope": scope_name(scope), "values": values});
            self.send(ATTRIBUTES, about(device, more)).await?;
        }
        Ok(())
    }

    /// Whether the device is connected, if that is news. A session that takes the place of another one is none.
    async fn tell_connection(&mut self, id: DeviceId, at: Option<Timestamp>) -> Result<(), Ended> {
        let is_connected = self.api.devices.is_connected(id);
        let Some(watched) = self.devices.get_mut(&id) else { return Ok(()) };
        if watched.is_connected.replace(is_connected) == Some(is_connected) {
            return Ok(());
        }
        let device = watched.device.clone();
        let more = json!({"connected": is_connected, "ts": at.map(|at| at.0)});
        self.send(CONNECTION, about(&device, more)).await
    }

    async fn send(&mut self, name: &str, data: Json) -> Result<(), Ended> {
        let event = SseEvent::default().event(name).data(data.to_string());
        let until = Instant::now() + SEND_TIMEOUT;
        match timeout_at(self.due.map_or(until, |due| due.min(until)), self.out.send(event)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ended),
        }
    }
}

fn about(device: &DeviceHandle, more: Json) -> Json {
    let mut object = json!({"deviceId": device.id().to_string(), "deviceName": &*device.name()});
    if let (Json::Object(members), Json::Object(more)) = (&mut object, more) {
        members.extend(more);
    }
    object
}

fn values<'v>(values: impl Iterator<Item = (String, &'v Value)>) -> Map<String, Json> {
    values.map(|(key, value)| (key, value_json(value))).collect()
}
