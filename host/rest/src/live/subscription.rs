//! One subscription of a WebSocket: what it tells at first, and what of each event it tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tokio::sync::OwnedSemaphorePermit;
use wireglot_bus::{Event, Kinds};
use wireglot_device::{DeviceHandle, now};
use wireglot_model::limits::{LIVE_KEY_BYTES, LIVE_KEY_BYTES_MAX, LIVE_KEYS_MAX};
use wireglot_model::value::write_json_string;
use wireglot_model::{Attribute, Sample, Scope, Timestamp};

use super::command::{About, Window};
use crate::Api;
use crate::error::ApiError;
use crate::history::points;
use crate::request::Params;
use crate::state;

/// Values as text by key, each with its time; `None` where a key that was asked for has none.
pub(crate) type Values = BTreeMap<String, Vec<(i64, Option<String>)>>;

pub(crate) struct Subscription {
    pub(crate) device: DeviceHandle,
    about: About,
    /// `None`: all.
    keys: Option<BTreeSet<String>>,
    /// The newest value told of each key: its time, and a digest of it. What it says again is left out.
    told: HashMap<String, (i64, u64)>,
    /// What the keys take here. Those that are named take it from the start, others as they are told.
    key_bytes: usize,
    /// The state was told.
    is_told: bool,
}

impl Subscription {
    pub(crate) fn new(device: DeviceHandle, about: About, keys: Option<Vec<String>>) -> Self {
        // Kept for themselves, in the parameters of two histories, and with what was told last.
        let key_bytes = |keys: &Vec<String>| keys.iter().map(|key| 2 * LIVE_KEY_BYTES + 4 * key.len()).sum();
        let key_bytes = keys.as_ref().map_or(0, key_bytes);
        let keys = keys.map(|keys| keys.into_iter().collect());
        Self { device, about, keys, told: HashMap::new(), key_bytes, is_told: false }
    }

    /// The events that change what it is about.
    pub(crate) fn kinds(&self) -> Kinds {
        match self.about {
            About::Latest | About::Window(_) => Kinds::TELEMETRY,
            About::Attributes(_) => Kinds::ATTRIBUTES,
        }
    }

    /// What there is now, and the room that it takes until it is sent. Where there is no room for its keys, it is refused at
    /// first; later, what is told of further keys is not remembered.
    pub(crate) async fn state(
        &mut self,
        api: &Api,
        left: &mut KeyRoom,
    ) -> Result<(Values, Option<OwnedSemaphorePermit>), ApiError> {
        self.told.clear();
        if self.keys.is_none() {
            left.bytes += std::mem::take(&mut self.key_bytes);
        }
        let (values, room) = match &self.about {
            About::Latest => self.latest(api).await?,
            About::Window(window) => {
                let (values, room) = self.window(api, window).await?;
                (values, Some(room))
            }
            About::Attributes(scope) => {
                let scopes = scope.map_or(Scope::ALL.to_vec(), |scope| vec![scope]);
                let (found, room) =
                    state::attributes(api, self.device.id(), scopes, self.named_keys()).await?;
                let mut values = Values::new();
                found.into_iter().for_each(|attribute| add_attribute(&mut values, attribute));
                (values, room)
            }
        };
        for (key, points) in &values {
            // That there is none is no point: whatever comes first is told, however old it is.
            for (ts, value) in points.iter().filter(|(_, value)| value.is_some()) {
                self.tell(key, *ts, value.as_deref(), left);
            }
        }
        if left.is_over && !self.is_told {
            return Err(KeyRoom::refusal());
        }
        self.is_told = true;
        Ok((values, room))
    }

    /// As it was asked for. Where events tell what came later, that is a part of the state too: of the points themselves, as
    /// events tell them.
    async fn window(&self, api: &Api, window: &Window) -> Result<(Values, OwnedSemaphorePermit), ApiError> {
        let Window { asked, since, .. } = window;
        let histories: &[&Params] = match (window.is_live || self.is_told, window.is_aggregated) {
            (false, _) => &[asked],
            (true, false) => &[since],
            (true, true) => &[asked, since],
        };
        let (mut values, room) = read_histories(api, &self.device, histories).await?;
        if window.is_aggregated {
            // Intervals come in the order of time, and what followed them came the other way round.
            values.values_mut().for_each(|points| points.sort_by_key(|(ts, _)| *ts));
        }
        Ok((values, room))
    }

    fn named_keys(&self) -> Option<Vec<String>> {
        self.keys.as_ref().map(|keys| keys.iter().cloned().collect())
    }

    async fn latest(&self, api: &Api) -> Result<(Values, Option<OwnedSemaphorePermit>), ApiError> {
        let keys = self.named_keys();
        let (found, room) = state::latest(api, self.device.id(), keys.clone()).await?;
        let value =
            |latest: wireglot_device::Latest| (latest.key, vec![(latest.ts.0, Some(latest.value.to_text()))]);
        let mut values: Values = found.into_iter().map(value).collect();
        for key in keys.into_iter().flatten() {
            values.entry(key).or_insert_with(|| vec![(now().0, None)]);
        }
        Ok((values, room))
    }

    /// What of an event there is to tell; empty where there is nothing.
    pub(crate) fn change(
        &mut self,
        api: &Api,
        event: &Event,
        left: &mut KeyRoom,
    ) -> Result<Values, ApiError> {
        match event {
            Event::Telemetry { ts, samples, .. } => Ok(self.telemetry(*ts, samples, left)),
            Event::Attributes { scope, samples, .. } => {
                let keys = samples.iter().map(|sample| sample.key.clone()).collect();
                self.attributes(api, *scope, keys, left)
            }
            Event::AttributesDeleted { scope, keys, .. } => self.attributes(api, *scope, keys.clone(), left),
            Event::Decoded { .. }
            | Event::Failed { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. } => Ok(Values::new()),
        }
    }

    fn telemetry(&mut self, ts: Timestamp, samples: &[Sample], left: &mut KeyRoom) -> Values {
        let mut values = Values::new();
        let (since, is_latest) = match &self.about {
            About::Latest => (i64::MIN, true),
            About::Window(window) => (window.start, false),
            About::Attributes(_) => return values,
        };
        if ts.0 < since {
            return values;
        }
        for Sample { key, value } in samples {
            // A value that came late is part of the history, and not the latest one.
            let is_late = is_latest && self.told.get(key).is_some_and(|(newest, _)| ts.0 < *newest);
            if is_late || !self.wants(key) {
                continue;
            }
            let text = value.to_text();
            if self.tell(key, ts.0, Some(&text), left) {
                values.entry(key.clone()).or_default().push((ts.0, Some(text)));
            }
        }
        values
    }

    /// Attributes are told as they are now: what an event says of them may have been replaced since.
    fn attributes(
        &mut self,
        api: &Api,
        scope: Scope,
        mut keys: Vec<String>,
        left: &mut KeyRoom,
    ) -> Result<Values, ApiError> {
        let mut values = Values::new();
        match self.about {
            About::Attributes(Some(only)) if only != scope => return Ok(values),
            About::Attributes(_) => {}
            About::Latest | About::Window(_) => return Ok(values),
        }
        keys.retain(|key| self.wants(key));
        for found in api.devices.attributes(self.device.id(), scope, Some(&keys))? {
            keys.retain(|key| *key != found.key);
            add_attribute(&mut values, found);
        }
        // Clients know a deletion by its time.
        values.extend(keys.into_iter().map(|key| (key, vec![(0, Some(String::new()))])));
        values.retain(|key, points| {
            points.retain(|(ts, value)| self.tell(key, *ts, value.as_deref(), left));
            !points.is_empty()
        });
        Ok(values)
    }

    fn wants(&self, key: &str) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }

    /// Notes that a value is told; says whether it is another one than the newest.
    fn tell(&mut self, key: &str, ts: i64, value: Option<&str>, left: &mut KeyRoom) -> bool {
        let mut digest = DefaultHasher::new();
        value.hash(&mut digest);
        let this = (ts, digest.finish());
        let is_attribute = matches!(self.about, About::Attributes(_));
        match self.told.get_mut(key) {
            Some(newest) if *newest == this => return false,
            Some(newest) if is_attribute || ts >= newest.0 => *newest = this,
            Some(_) => {}
            None => self.remember(key, this, left),
        }
        true
    }

    /// Notes what is told of a key for the first time, if there is room for it.
    fn remember(&mut self, key: &str, told: (i64, u64), left: &mut KeyRoom) {
        let bytes = if self.keys.is_some() { 0 } else { LIVE_KEY_BYTES + key.len() };
        if self.told.len() < LIVE_KEYS_MAX && left.take(bytes) {
            self.key_bytes += bytes;
            self.told.insert(key.to_owned(), told);
        }
    }
}

/// What a socket has left of the room for the keys of its subscriptions.
pub(crate) struct KeyRoom {
    bytes: usize,
    /// More was asked for.
    is_over: bool,
}

impl KeyRoom {
    pub(crate) fn beside<'s>(subscriptions: impl Iterator<Item = &'s Subscription>) -> Self {
        let taken: usize = subscriptions.map(|subscription| subscription.key_bytes).sum();
        Self { bytes: LIVE_KEY_BYTES_MAX.saturating_sub(taken), is_over: false }
    }

    /// Takes the room of a subscription that is to come.
    pub(crate) fn admit(&mut self, subscription: &Subscription) -> Result<(), ApiError> {
        if self.take(subscription.key_bytes) { Ok(()) } else { Err(Self::refusal()) }
    }

    fn take(&mut self, bytes: usize) -> bool {
        let left = self.bytes.checked_sub(bytes);
        self.is_over |= left.is_none();
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }

    fn refusal() -> ApiError {
        ApiError::bad_request(format!(
            "The keys of a socket's subscriptions take at most {LIVE_KEY_BYTES_MAX} bytes, each some {LIVE_KEY_BYTES} more \
             than its text: name fewer keys, end a subscription with unsubscribe, or open another socket"
        ))
    }
}

/// The points of histories, as their parameters say, and the room that they take until they are sent.
pub(crate) async fn read_histories(
    api: &Api,
    device: &DeviceHandle,
    histories: &[&Params],
) -> Result<(Values, OwnedSemaphorePermit), ApiError> {
    let (found, room) = points(api, device.id(), histories).await?;
    let mut values = Values::new();
    for (key, points) in found {
        let points = points.into_iter().map(|(ts, value)| (ts.0, Some(value.to_text())));
        values.entry(key).or_default().extend(points);
    }
    Ok((values, room))
}

fn add_attribute(values: &mut Values, attribute: Attribute) {
    let Attribute { key, value, updated } = attribute;
    values.entry(key).or_default().push((updated.0, Some(value.to_text())));
}

/// An answer, and every later change.
pub(crate) fn write(id: i64, values: &Values) -> String {
    let mut out = format!("{{\"subscriptionId\":{id},\"errorCode\":0,\"errorMsg\":null,\"data\":{{");
    for (index, (key, points)) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_json_string(key, &mut out);
        out.push_str(":[");
        for (index, (ts, value)) in points.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(&format!("[{ts},"));
            match value {
                Some(value) => write_json_string(value, &mut out),
                None => out.push_str("null"),
            }
            out.push(']');
        }
        out.push(']');
    }
    out.push_str("},\"latestValues\":{");
    let newest =
        |points: &[(i64, Option<String>)]| points.iter().map(|(ts, _)| *ts).max().unwrap_or_default();
    for (index, (key, points)) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_json_string(key, &mut out);
        out.push_str(&format!(":{}", newest(points)));
    }
    out.push_str("}}");
    out
}

/// The answer to a command that is not served, and the end of a subscription.
pub(crate) fn write_error(id: i64, error: &ApiError) -> String {
    let (code, message) = error.of_subscription();
    let mut out = format!("{{\"subscriptionId\":{id},\"errorCode\":{code},\"errorMsg\":");
    write_json_string(message, &mut out);
    out.push_str(",\"data\":null,\"latestValues\":{}}");
    out
}
