//! What the live trace is told of a frame. Nothing here runs, and nothing is copied, while nobody listens.

use std::time::Instant;

use wireglot_bus::{Bus, Event, FrameFacts, Kinds, Subject};
use wireglot_device::DeviceHandle;
use wireglot_model::limits::{TRACE_PAYLOAD_BYTES_MAX, TRACE_TEXT_BYTES_MAX, TRACE_VALUES_MAX};
use wireglot_model::{
    CodecName, CodecStamp, Decoded, FailureStage, Measurement, Sample, Timestamp, Uplink, UplinkBody, Value,
};

use crate::profile::{ProfileView, Unread};
use crate::publish::Incoming;

/// A frame that somebody may want to see.
#[derive(Clone, Copy)]
pub(crate) struct Watch(Instant);

/// Whose frame it is.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) device: &'a DeviceHandle,
    pub(crate) view: &'a ProfileView,
    pub(crate) incoming: &'a Incoming<'a>,
    pub(crate) received: Timestamp,
}

/// What was seen, to be told as soon as it is certain.
pub(crate) struct Seen(Event);

impl Watch {
    /// Begins to watch a frame; `None`, for the price of one load, while nobody listens.
    pub(crate) fn begin(bus: &Bus) -> Option<Self> {
        bus.wants(Kinds::DECODED.and(Kinds::FAILED)).then(|| Self(Instant::now()))
    }

    /// The frame was read.
    pub(crate) fn decoded(
        self,
        bus: &Bus,
        told: &Told<'_>,
        decoded: &Decoded,
        stamp: Option<&CodecStamp>,
    ) -> Option<Seen> {
        let nanoseconds = self.nanoseconds();
        let name = told.device.name();
        let codec = stamp.map(|stamp| &stamp.name);
        let subject = Subject {
            kind: Kinds::DECODED,
            device: &name,
            uplinks: &decoded.uplinks,
            profile: told.view.name(),
            codec,
            stage: None,
        };
        if !bus.is_followed(&subject) {
            return None;
        }
        let mut excerpt = Excerpt { values_left: TRACE_VALUES_MAX, values_left_out: 0 };
        let uplinks = decoded.uplinks.iter().filter_map(|uplink| excerpt.uplink(uplink)).collect();
        Some(Seen(Event::Decoded {
            frame: facts(told, codec.cloned(), stamp.cloned(), nanoseconds),
            uplinks,
            values_left_out: excerpt.values_left_out,
            warnings: decoded.warnings.iter().map(|warning| cut(warning)).collect(),
        }))
    }

    /// The frame was not read, or not accepted.
    pub(crate) fn failed(self, bus: &Bus, told: &Told<'_>, unread: &Unread) {
        let nanoseconds = self.nanoseconds();
        let name = told.device.name();
        let of_profile = told.view.codec.as_ref().map(|binding| &binding.codec);
        // A codec that is missing has no version, but the profile names it.
        let codec = match (&unread.codec, unread.stage) {
            (Some(stamp), _) => Some(&stamp.name),
            (None, FailureStage::NoCodec) => of_profile,
            (None, _) => None,
        };
        let subject = Subject {
            kind: Kinds::FAILED,
            device: &name,
            uplinks: &[],
            profile: told.view.name(),
            codec,
            stage: Some(unread.stage),
        };
        if bus.is_followed(&subject) {
            let stamp = unread.codec.clone();
            bus.announce(Event::Failed {
                frame: facts(told, codec.cloned(), stamp, nanoseconds),
                stage: unread.stage,
                reason: unread.reason.clone(),
            });
        }
    }

    fn nanoseconds(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Seen {
    /// The frame was accepted.
    pub(crate) fn tell(seen: Option<Self>, bus: &Bus) {
        if let Some(Self(event)) = seen {
            bus.announce(event);
        }
    }
}

fn facts(
    told: &Told<'_>,
    codec: Option<CodecName>,
    stamp: Option<CodecStamp>,
    nanoseconds: u64,
) -> FrameFacts {
    let payload = told.incoming.payload;
    FrameFacts {
        device: told.device.id(),
        device_name: told.device.name(),
        profile: told.view.name().into(),
        topic: told.incoming.topic.to_owned(),
        ts: told.received,
        payload: payload.iter().take(TRACE_PAYLOAD_BYTES_MAX).copied().collect(),
        payload_bytes: payload.len(),
        codec,
        stamp,
        nanoseconds,
    }
}

/// Copies of a result, as far as it is shown.
struct Excerpt {
    values_left: usize,
    values_left_out: usize,
}

impl Excerpt {
    /// `None` where there is no room left for anything of it.
    fn uplink(&mut self, uplink: &Uplink) -> Option<Uplink> {
        if self.values_left == 0 {
            self.values_left_out += values_of(&uplink.body);
            return None;
        }
        let before = self.values_left;
        let body = match &uplink.body {
            UplinkBody::Telemetry(measurements) => {
                UplinkBody::Telemetry(measurements.iter().filter_map(|one| self.measurement(one)).collect())
            }
            UplinkBody::Attributes(samples) => UplinkBody::Attributes(self.samples(samples)),
            UplinkBody::SharedAttributes(samples) => UplinkBody::SharedAttributes(self.samples(samples)),
            UplinkBody::RpcResponse { id, payload } => {
                UplinkBody::RpcResponse { id: *id, payload: cut(payload) }
            }
            UplinkBody::AttributeRequest { id, client_keys, shared_keys } => {
                let mut shown = |keys: &[String]| {
                    let taken = keys.iter().take(self.values_left).map(|key| cut(key)).collect::<Vec<_>>();
                    self.values_left -= taken.len();
                    self.values_left_out += keys.len() - taken.len();
                    taken
                };
                let (client_keys, shared_keys) = (shown(client_keys), shown(shared_keys));
                UplinkBody::AttributeRequest { id: *id, client_keys, shared_keys }
            }
            UplinkBody::ClientRpc { id, method, params } => {
                UplinkBody::ClientRpc { id: *id, method: cut(method), params: cut(params) }
            }
            UplinkBody::Claim { duration_ms, .. } => {
                UplinkBody::Claim { secret: String::new(), duration_ms: *duration_ms }
            }
        };
        // What has no values has its price too: a result may have thousands of them.
        if self.values_left == before {
            self.values_left -= 1;
        }
        Some(Uplink { child: uplink.child.clone(), body })
    }

    fn measurement(&mut self, measurement: &Measurement) -> Option<Measurement> {
        if self.values_left == 0 {
            self.values_left_out += measurement.samples.len();
            return None;
        }
        Some(Measurement { ts: measurement.ts, samples: self.samples(&measurement.samples) })
    }

    fn samples(&mut self, samples: &[Sample]) -> Vec<Sample> {
        let shown: Vec<Sample> = samples
            .iter()
            .take(self.values_left)
            .map(|sample| Sample { key: sample.key.clone(), value: cut_value(&sample.value) })
            .collect();
        self.values_left -= shown.len();
        self.values_left_out += samples.len() - shown.len();
        shown
    }
}

fn values_of(body: &UplinkBody) -> usize {
    match body {
        UplinkBody::Telemetry(measurements) => measurements.iter().map(|one| one.samples.len()).sum(),
        UplinkBody::Attributes(samples) | UplinkBody::SharedAttributes(samples) => samples.len(),
        UplinkBody::AttributeRequest { client_keys, shared_keys, .. } => {
            client_keys.len() + shared_keys.len()
        }
        UplinkBody::RpcResponse { .. } | UplinkBody::ClientRpc { .. } | UplinkBody::Claim { .. } => 1,
    }
}

/// A JSON value that is cut is no JSON any more, so it is shown as text.
fn cut_value(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(cut(text)),
        Value::Json(text) if text.len() > TRACE_TEXT_BYTES_MAX => Value::Text(cut(text)),
        Value::Json(_) | Value::Bool(_) | Value::Long(_) | Value::Double(_) => value.clone(),
    }
}

fn cut(text: &str) -> String {
    if text.len() <= TRACE_TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let fits = |&(at, character): &(usize, char)| at + character.len_utf8() <= TRACE_TEXT_BYTES_MAX;
    let mut shown: String = text.char_indices().take_while(fits).map(|(_, character)| character).collect();
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(count: usize) -> Vec<Sample> {
        vec![Sample { key: "k".into(), value: Value::Long(1) }; count]
    }

    #[track_caller]
    fn check(uplinks: &[UplinkBody], shown: usize, left_out: usize) {
        let mut excerpt = Excerpt { values_left: TRACE_VALUES_MAX, values_left_out: 0 };
        let uplinks = uplinks.iter().map(|body| Uplink { child: None, body: body.clone() });
        let kept: Vec<Uplink> = uplinks.filter_map(|uplink| excerpt.uplink(&uplink)).collect();
        let values = kept.iter().map(|uplink| values_of(&uplink.body)).sum::<usize>();
        assert_eq!((values, excerpt.values_left_out), (shown, left_out));
        assert!(kept.len() <= TRACE_VALUES_MAX);
    }

    #[test]
    fn a_large_result_is_shown_in_part() {
        let measured = |counts: &[usize]| {
            let one = |&count: &usize| Measurement { ts: None, samples: samples(count) };
            UplinkBody::Telemetry(counts.iter().map(one).collect())
        };
        let most = TRACE_VALUES_MAX;
        check(&[measured(&[8])], 8, 0);
        check(&[measured(&[most])], most, 0);
        check(&[measured(&[most - 1, 3]), measured(&[2])], most, 4);
        check(&[UplinkBody::Attributes(samples(most + 5)), measured(&[1])], most, 6);
        let rpc = UplinkBody::RpcResponse { id: 1, payload: "{}".into() };
        check(&vec![rpc; most + 7], most, 7);
        let keys = vec!["k".to_owned(); most];
        let request = UplinkBody::AttributeRequest { id: 1, client_keys: keys.clone(), shared_keys: keys };
        check(&[request], most, most);
        check(&vec![measured(&[]); most + 1], 0, 0);
        check(&vec![UplinkBody::Attributes(vec![]); most + 1], 0, 0);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        for text in ["", "short", &"x".repeat(TRACE_TEXT_BYTES_MAX)] {
            assert_eq!(cut(text), text);
        }
        let long = "ä".repeat(TRACE_TEXT_BYTES_MAX);
        assert_eq!(cut(&long), format!("{}…", "ä".repeat(TRACE_TEXT_BYTES_MAX / 2)));
        let json = format!("[{}]", "1,".repeat(TRACE_TEXT_BYTES_MAX) + "1");
        assert!(matches!(cut_value(&Value::Json(json)), Value::Text(_)));
    }
}
