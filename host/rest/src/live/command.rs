//! What a client says over a WebSocket (REST §4): its login, and commands in the form of today and the older one.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use wireglot_model::limits::LIVE_KEYS_MAX;
use wireglot_model::{DeviceId, Scope};

use crate::aggregate::Aggregation;
use crate::attributes::scope_of;
use crate::error::ApiError;
use crate::request::{Params, entity};

/// The types of commands, as clients name them.
const TYPES: &str = "TIMESERIES, ATTRIBUTES, TIMESERIES_HISTORY";
/// The lists of the older form, and the type of what stands in each.
const LISTS: [(&str, &str); 3] =
    [("tsSubCmds", "TIMESERIES"), ("attrSubCmds", "ATTRIBUTES"), ("historyCmds", "TIMESERIES_HISTORY")];

/// One message of a client.
pub(crate) struct Said {
    members: Map<String, Json>,
}

/// A command that could be read, or the answer to one that could not.
pub(crate) struct Command {
    /// 0 where it has none.
    pub(crate) id: i64,
    pub(crate) wish: Result<Wish, ApiError>,
}

/// What a command asks for.
pub(crate) enum Wish {
    Subscribe {
        device: DeviceId,
        about: About,
        keys: Option<Vec<String>>,
    },
    Unsubscribe,
    /// With the parameters of a history.
    History {
        device: DeviceId,
        query: Params,
    },
}

/// What a subscription is about.
#[derive(Clone)]
pub(crate) enum About {
    Latest,
    Window(Window),
    /// Of one scope, or of all.
    Attributes(Option<Scope>),
}

/// What a history has, and everything since it began.
#[derive(Clone)]
pub(crate) struct Window {
    pub(crate) start: i64,
    /// Nobody has said when it starts, so it ends at the present.
    pub(crate) is_live: bool,
    pub(crate) is_aggregated: bool,
    /// The parameters of the history.
    pub(crate) asked: Params,
    /// Those of all points since it began; where it is aggregated, since it ended.
    pub(crate) since: Params,
}

/// The members of a command of any type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    entity_type: Option<String>,
    entity_id: Option<String>,
    scope: Option<String>,
    keys: Option<String>,
    unsubscribe: Option<bool>,
    start_ts: Option<i64>,
    end_ts: Option<i64>,
    time_window: Option<i64>,
    interval: Option<i64>,
    interval_type: Option<String>,
    time_zone_id: Option<String>,
    limit: Option<i64>,
    agg: Option<String>,
}

impl Said {
    pub(crate) fn read(text: &str) -> Result<Self, ApiError> {
        let members = serde_json::from_str(text)
            .map_err(|error| ApiError::bad_request(format!("Failed to parse the payload: {error}")))?;
        Ok(Self { members })
    }

    /// The login, in the form of the headers of a request; `None` where the message has none.
    pub(crate) fn login(&self) -> Option<HeaderMap> {
        let login = self.members.get("authCmd")?.as_object()?;
        let shown = |name: &str| login.get(name).and_then(Json::as_str).filter(|shown| !shown.is_empty());
        match (shown("token"), shown("apiKey")) {
            (Some(token), _) => Some(bearer(token)),
            (None, Some(key)) => Some(header("ApiKey", key)),
            (None, None) => None,
        }
    }

    /// The commands in their order. `now` is where a window ends that does not say when it starts.
    pub(crate) fn commands(&self, now: i64) -> Vec<Command> {
        let mut commands = Vec::new();
        for (name, value) in &self.members {
            let list = value.as_array().map(Vec::as_slice);
            match (LISTS.iter().find(|(list, _)| list == name), list) {
                (Some((_, kind)), Some(list)) => {
                    commands.extend(list.iter().map(|command| read(command, Some(kind), now)));
                }
                (None, Some(list)) if name == "cmds" => {
                    commands.extend(list.iter().map(|command| read(command, None, now)));
                }
                // Clients name all lists that they know, and fill some.
                (None, Some(list)) => commands.extend(list.iter().map(|command| not_served(command, name))),
                (_, None) if name == "authCmd" || value.is_null() => {}
                (_, None) => {
                    let wrong = ApiError::bad_request(format!("'{name}' is no list of commands"));
                    commands.push(Command { id: 0, wish: Err(wrong) });
                }
            }
        }
        commands
    }
}

/// A token as a request shows it.
pub(crate) fn bearer(token: &str) -> HeaderMap {
    header("Bearer", token)
}

/// What cannot stand in a header proves nothing.
fn header(scheme: &str, secret: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("{scheme} {secret}")).ok();
    value.map(|value| (HeaderName::from_static("x-authorization"), value)).into_iter().collect()
}

fn id_of(command: &Json) -> Option<i64> {
    command.get("cmdId").and_then(Json::as_i64)
}

fn not_served(command: &Json, name: &str) -> Command {
    let wish =
        Err(ApiError::bad_request(format!("Commands of type '{name}' are not served; there are {TYPES}")));
    Command { id: id_of(command).unwrap_or(0), wish }
}

fn read(command: &Json, kind: Option<&str>, now: i64) -> Command {
    let Some(id) = id_of(command) else {
        let wish = Err(ApiError::bad_request("A command has a 'cmdId': a whole number"));
        return Command { id: 0, wish };
    };
    let kind = kind.or_else(|| command.get("type").and_then(Json::as_str));
    let wish = match kind {
        _ if id < 0 => Err(ApiError::bad_request("Cmd id is negative value!")),
        Some("TIMESERIES") => members(command).and_then(|members| members.time_series(now)),
        Some("ATTRIBUTES") => members(command).and_then(Members::attributes),
        Some("TIMESERIES_HISTORY") => members(command).and_then(Members::history),
        Some(other) => return not_served(command, other),
        None => Err(ApiError::bad_request(format!("A command has a 'type'; there are {TYPES}"))),
    };
    Command { id, wish }
}

fn members(command: &Json) -> Result<Members, ApiError> {
    Members::deserialize(command).map_err(|error| ApiError::bad_request(format!("Invalid command: {error}")))
}

impl Members {
    fn time_series(self, now: i64) -> Result<Wish, ApiError> {
        if self.unsubscribe == Some(true) {
            return Ok(Wish::Unsubscribe);
        }
        match self.scope.as_deref() {
            None | Some("" | "LATEST_TELEMETRY") => {}
            Some(other) => {
                let only = "a time series has the scope LATEST_TELEMETRY";
                return Err(ApiError::bad_request(format!("Invalid scope: {other}; {only}")));
            }
        }
        let (device, keys) = (self.device()?, self.keys()?);
        let about = match self.time_window.filter(|window| *window > 0) {
            None => About::Latest,
            Some(length) => About::Window(self.window(length, now)?),
        };
        Ok(Wish::Subscribe { device, about, keys })
    }

    fn window(mut self, length: i64, now: i64) -> Result<Window, ApiError> {
        let start = self.start_ts.filter(|start| *start > 0);
        let is_live = start.is_none();
        let start = start.unwrap_or_else(|| now.saturating_sub(length));
        let end = start.saturating_add(length);
        let asked = self.query(start, end);
        let is_aggregated = Aggregation::from_params(&asked, start, end)?.is_some();
        self.agg = None;
        let since = self.query(if is_aggregated { end } else { start }, i64::MAX);
        Ok(Window { start, is_live, is_aggregated, asked, since })
    }

    fn attributes(self) -> Result<Wish, ApiError> {
        if self.unsubscribe == Some(true) {
            return Ok(Wish::Unsubscribe);
        }
        let scope = match self.scope.as_deref() {
            None | Some("" | "ANY_SCOPE") => None,
            Some(name) => Some(scope_of(name)?),
        };
        Ok(Wish::Subscribe { device: self.device()?, about: About::Attributes(scope), keys: self.keys()? })
    }

    fn history(self) -> Result<Wish, ApiError> {
        let device = self.device()?;
        if self.keys()?.is_none() {
            return Err(ApiError::bad_request("Keys are empty!"));
        }
        let required = |name: &str| ApiError::bad_request(format!("A history has a '{name}'"));
        let start = self.start_ts.ok_or_else(|| required("startTs"))?;
        let end = self.end_ts.ok_or_else(|| required("endTs"))?;
        Ok(Wish::History { device, query: self.query(start, end) })
    }

    fn device(&self) -> Result<DeviceId, ApiError> {
        let id = self.entity_id.as_deref().filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| ApiError::bad_request("Entity id is empty!"))?;
        entity(self.entity_type.as_deref().unwrap_or("DEVICE"), id)
    }

    /// As a query names them: a list with commas; `None` for all.
    fn keys(&self) -> Result<Option<Vec<String>>, ApiError> {
        let keys = Params::of([("keys", self.keys.clone())]).keys();
        if keys.as_ref().is_some_and(|keys| keys.len() > LIVE_KEYS_MAX) {
            return Err(ApiError::bad_request(format!("A subscription names at most {LIVE_KEYS_MAX} keys")));
        }
        Ok(keys)
    }

    /// What a request for this history would say in its query.
    fn query(&self, start: i64, end: i64) -> Params {
        let number =
            |number: Option<i64>| number.filter(|number| *number != 0).map(|number| number.to_string());
        Params::of([
            ("keys", self.keys.clone()),
            ("startTs", Some(start.to_string())),
            ("endTs", Some(end.to_string())),
            ("interval", number(self.interval)),
            ("intervalType", self.interval_type.clone()),
            ("timeZone", self.time_zone_id.clone()),
            ("limit", number(self.limit)),
            ("agg", self.agg.clone()),
        ])
    }
}
