//! One subscription of a WebSocket: what it tells at first, and what of each event it tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tokio::sync::OwnedSemaphorePermit;
use wireglot_bus::{Event, Kinds};
use wireglot_device::{DeviceHandle, now};
use wireglot_model::limits::LIVE_KEYS_MAX;
use wireglot_model::value::write_json_string;
use wireglot_model::{Attribute, Sample, Scope, Timestamp};

use super::command::About;
use crate::Api;
use crate::error::ApiError;
use crate::history::points;

const ALL_SCOPES: [Scope; 3] = [Scope::Client, Scope::Shared, Scope::Server];

/// Values as text by key, each with its time; `None` where a key that was asked for has none.
pub(crate) type Values = BTreeMap<String, Vec<(i64, Option<String>)>>;

pub(crate) struct Subscription {
    pub(crate) device: DeviceHandle,
    about: About,
    /// `None`: all.
    keys: Option<BTreeSet<String>>,
    /// The newest value told of each key: its time, and a digest of it. What it says again is left out.
    told: HashMap<String, (i64, u64)>,
}

impl Subscription {
    pub(crate) fn new(device: DeviceHandle, about: About, keys: Option<Vec<String>>) -> Self {
        Self { device, about, keys: keys.map(|keys| keys.into_iter().collect()), told: HashMap::new() }
    }

    /// The events that change what it is about.
    pub(crate) fn kinds(&self) -> Kinds {
        match self.about {
            About::Latest | About::Window { .. } => Kinds::TELEMETRY,
            About::Attributes(_) => Kinds::ATTRIBUTES,
        }
    }

    /// What there is now, and the room that it takes until it is sent.
    pub(crate) async fn state(
        &mut self,
        api: &Api,
    ) -> Result<(Values, Option<OwnedSemaphorePermit>), ApiError> {
        self.told.clear();
        let mut room = None;
        let values = match &self.about {
            About::Latest => self.latest(api).await?,
            About::Window { query, .. } => {
                let (values, taken) = history(api, &self.device, query).await?;
                room = Some(taken);
                values
            }
            About::Attributes(scope) => {
                let scopes = scope.as_ref().map_or(&ALL_SCOPES[..], std::slice::from_ref);
                let keys: Option<Vec<String>> = self.keys.as_ref().map(|keys| keys.iter().cloned().collect());
                let mut values = Values::new();
                for scope in scopes {
                    for found in api.devices.attributes(self.device.id(), *scope, keys.as_deref())? {
                        add_attribute(&mut values, found);
                    }
                }
                values
            }
        };
        for (key, points) in &values {
            // That there is none is no point: whatever comes first is told, however old it is.
            for (ts, value) in points.iter().filter(|(_, value)| value.is_some()) {
                self.tell(key, *ts, value.as_deref());
            }
        }
        Ok((values, room))
    }

    async fn latest(&self, api: &Api) -> Result<Values, ApiError> {
        let keys: Option<Vec<String>> = self.keys.as_ref().map(|keys| keys.iter().cloned().collect());
        let (devices, device, wanted) = (api.devices.clone(), self.device.id(), keys.clone());
        let found = api.short_reads.read(move || devices.latest(device, wanted.as_deref())).await?;
        let value =
            |latest: wireglot_device::Latest| (latest.key, vec![(latest.ts.0, Some(latest.value.to_text()))]);
        let mut values: Values = found.into_iter().map(value).collect();
        for key in keys.into_iter().flatten() {
            values.entry(key).or_insert_with(|| vec![(now().0, None)]);
        }
        Ok(values)
    }

    /// What of an event there is to tell; empty where there is nothing.
    pub(crate) fn change(&mut self, api: &Api, event: &Event) -> Result<Values, ApiError> {
        match event {
            Event::Telemetry { ts, samples, .. } => Ok(self.telemetry(*ts, samples)),
            Event::Attributes { scope, samples, .. } => {
                let keys = samples.iter().map(|sample| sample.key.clone()).collect();
                self.attributes(api, *scope, keys)
            }
            Event::AttributesDeleted { scope, keys, .. } => self.attributes(api, *scope, keys.clone()),
            Event::Decoded { .. }
            | Event::Failed { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. } => Ok(Values::new()),
        }
    }

    fn telemetry(&mut self, ts: Timestamp, samples: &[Sample]) -> Values {
        let mut values = Values::new();
        let (since, is_latest) = match self.about {
            About::Latest => (i64::MIN, true),
            About::Window { start, .. } => (start, false),
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
            if self.tell(key, ts.0, Some(&text)) {
                values.entry(key.clone()).or_default().push((ts.0, Some(text)));
            }
        }
        values
    }

    /// Attributes are told as they are now: what an event says of them may have been replaced since.
    fn attributes(&mut self, api: &Api, scope: Scope, mut keys: Vec<String>) -> Result<Values, ApiError> {
        let mut values = Values::new();
        match self.about {
            About::Attributes(Some(only)) if only != scope => return Ok(values),
            About::Attributes(_) => {}
            About::Latest | About::Window { .. } => return Ok(values),
        }
        keys.retain(|key| self.wants(key));
        for found in api.devices.attributes(self.device.id(), scope, Some(&keys))? {
            keys.retain(|key| *key != found.key);
            add_attribute(&mut values, found);
        }
        // Clients know a deletion by its time.
        values.extend(keys.into_iter().map(|key| (key, vec![(0, Some(String::new()))])));
        values.retain(|key, points| {
            points.retain(|(ts, value)| self.tell(key, *ts, value.as_deref()));
            !points.is_empty()
        });
        Ok(values)
    }

    fn wants(&self, key: &str) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }

    /// Notes that a value is told; says whether it is another one than the newest.
    fn tell(&mut self, key: &str, ts: i64, value: Option<&str>) -> bool {
        let mut digest = DefaultHasher::new();
        value.hash(&mut digest);
        let this = (ts, digest.finish());
        let is_attribute = matches!(self.about, About::Attributes(_));
        let has_room = self.told.len() < LIVE_KEYS_MAX;
        match self.told.get_mut(key) {
            Some(newest) if *newest == this => return false,
            Some(newest) if is_attribute || ts >= newest.0 => *newest = this,
            None if has_room => {
                self.told.insert(key.to_owned(), this);
            }
            Some(_) | None => {}
        }
        true
    }
}

/// The points of a history, as its query says, and the room that they take until they are sent.
pub(crate) async fn history(
    api: &Api,
    device: &DeviceHandle,
    query: &crate::request::Params,
) -> Result<(Values, OwnedSemaphorePermit), ApiError> {
    let (found, room) = points(api, device.id(), query).await?;
    let text = |(ts, value): (Timestamp, wireglot_model::Value)| (ts.0, Some(value.to_text()));
    let values = found.into_iter().map(|(key, points)| (key, points.into_iter().map(text).collect()));
    Ok((values.collect(), room))
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
