//! Which payloads are protobuf (device API §7), and the calls of the device API in it.
//!
//! Not here: what the bytes mean (`wireglot-proto`).

use wireglot_device::ProfileState;
use wireglot_model::{Decoded, Downlink, JsonCompatibility, PayloadKind, Uplink, UplinkBody};
use wireglot_proto::{self as proto, ProtoSchemas};
use wireglot_route::{Family, Format, Route};

use crate::profile::Unread;

const NO_SCHEMAS: &str = "the profile has no protobuf schemas";

/// Whether and where a profile speaks protobuf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    /// Only on the `/p` topics.
    Elsewhere,
    /// On the profile's own topics, with as much JSON as this.
    Protobuf(JsonCompatibility),
}

impl Dialect {
    pub(crate) fn of(payload: &PayloadKind) -> Self {
        match payload {
            PayloadKind::Json | PayloadKind::Codec { .. } => Dialect::Elsewhere,
            PayloadKind::Protobuf(compatibility) => Dialect::Protobuf(*compatibility),
        }
    }

    /// Whether uplinks in `format` are protobuf. What a gateway says and hears is of the profile's format both ways (gateway API
    /// §2).
    pub(crate) fn reads(self, format: Format) -> bool {
        match format {
            Format::Profile => self != Dialect::Elsewhere,
            Format::Json => false,
            Format::Protobuf => true,
        }
    }

    /// Whether what is not protobuf may be JSON.
    pub(crate) fn reads_json_too(self, format: Format) -> bool {
        match (self, format) {
            (Dialect::Protobuf(compatibility), Format::Profile) => compatibility.uplinks,
            (Dialect::Protobuf(_) | Dialect::Elsewhere, _) => false,
        }
    }

    /// Whether downlinks of `family` are protobuf.
    pub(crate) fn writes(self, family: Family) -> bool {
        match (family, self) {
            (Family::V2Protobuf, _) => true,
            (Family::V2Json, _) | (Family::V1 | Family::V2, Dialect::Elsewhere) => false,
            (Family::V2, Dialect::Protobuf(_)) => true,
            (Family::V1, Dialect::Protobuf(compatibility)) => {
                !(compatibility.uplinks && compatibility.v1_downlinks)
            }
        }
    }
}

/// Bytes to values.
pub(crate) fn decode(state: &ProfileState, route: Route, payload: &[u8]) -> Result<Decoded, Unread> {
    let schemas = || state.schemas.as_deref().ok_or_else(|| Unread::refused(NO_SCHEMAS));
    let body = match route {
        Route::Telemetry(_) => UplinkBody::Telemetry(schemas()?.telemetry(payload).map_err(Unread::refused)?),
        Route::Attributes(_) => {
            UplinkBody::Attributes(schemas()?.attributes(payload).map_err(Unread::refused)?)
        }
        Route::AttributeRequest { id, .. } => {
            let (client_keys, shared_keys) = proto::attribute_request(payload).map_err(Unread::refused)?;
            UplinkBody::AttributeRequest { id, client_keys, shared_keys }
        }
        Route::RpcResponse { id, .. } => {
            let payload = schemas()?.rpc_response(payload).map_err(Unread::refused)?;
            UplinkBody::RpcResponse { id, payload }
        }
        Route::RpcRequest { id, .. } => {
            let (method, params) = proto::client_rpc(payload).map_err(Unread::refused)?;
            UplinkBody::ClientRpc { id, method, params }
        }
        Route::Claim => {
            let (secret, duration_ms) = proto::claim(payload).map_err(Unread::refused)?;
            UplinkBody::Claim { secret, duration_ms }
        }
        Route::OtaChunk { .. } => return Err(Unread::refused("the call is not served")),
    };
    Ok(Decoded { uplinks: vec![Uplink { child: None, body }], warnings: Vec::new() })
}

/// Values to bytes; `None`: nothing is said to the device. The error says what does not fit the profile's schema.
pub(crate) fn encode(schemas: Option<&ProtoSchemas>, downlink: &Downlink) -> Result<Option<Vec<u8>>, String> {
    Ok(match downlink {
        Downlink::AttributeUpdate(samples) => Some(proto::write_attribute_update(samples)),
        Downlink::AttributeDelete(keys) => Some(proto::write_attribute_delete(keys)),
        Downlink::AttributeResponse { id, client, shared } => {
            Some(proto::write_attribute_response(*id, client, shared))
        }
        Downlink::RpcRequest { id, method, params } => {
            let schemas = schemas.ok_or(NO_SCHEMAS)?;
            Some(schemas.rpc_request(*id, method, params).map_err(|refusal| refusal.to_string())?)
        }
        Downlink::ClientRpcAnswer { id, payload, .. } => Some(proto::write_client_rpc_answer(*id, payload)),
        Downlink::Close(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: Family = Family::V1;
    const V2: Family = Family::V2;
    const J: Family = Family::V2Json;
    const P: Family = Family::V2Protobuf;

    /// The families whose uplinks are read as protobuf, as JSON after that, and whose downlinks are protobuf.
    #[track_caller]
    fn check(dialect: Dialect, reads: &[Family], then_json: &[Family], writes: &[Family]) {
        let all = [V1, V2, J, P];
        let which = |is: &dyn Fn(Family) -> bool| all.into_iter().filter(|one| is(*one)).collect::<Vec<_>>();
        assert_eq!(which(&|family| dialect.reads(family.format())), reads, "{dialect:?} reads");
        assert_eq!(
            which(&|family| dialect.reads_json_too(family.format())),
            then_json,
            "{dialect:?} reads too"
        );
        assert_eq!(which(&|family| dialect.writes(family)), writes, "{dialect:?} writes");
    }

    /// The table of device profile §3. // 302, 303
    #[test]
    fn flags_and_suffixes_say_which_format_is_used() {
        let flags = |uplinks, v1_downlinks| Dialect::Protobuf(JsonCompatibility { uplinks, v1_downlinks });
        check(Dialect::Elsewhere, &[P], &[], &[P]);
        check(flags(false, false), &[V1, V2, P], &[], &[V1, V2, P]);
        check(flags(false, true), &[V1, V2, P], &[], &[V1, V2, P]);
        check(flags(true, false), &[V1, V2, P], &[V1, V2], &[V1, V2, P]);
        check(flags(true, true), &[V1, V2, P], &[V1, V2], &[V2, P]);
    }
}
