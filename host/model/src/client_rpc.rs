//! Who answers what devices call, beyond the methods that are built in.

use serde::{Deserialize, Serialize};

use crate::id::CodecName;
use crate::limits::WEBHOOK_TEXT_BYTES_MAX;

/// Who answers the calls of a profile's devices. The responder is asked first; the webhook gets what it does not know.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ClientRpc {
    /// A component of the codecs folder.
    pub responder: Option<ResponderChoice>,
    /// An HTTP service; `None` leaves it to the one that the server's settings name.
    pub webhook: Option<Webhook>,
}

/// The responder of a profile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResponderChoice {
    /// Which one.
    pub name: CodecName,
    /// A JSON object for `configure`, as text.
    pub settings: String,
}

/// An HTTP service that answers calls.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Webhook {
    /// Where calls are posted to.
    pub url: String,
    /// How long one may take, in milliseconds.
    pub timeout_ms: u32,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

impl Webhook {
    /// Whether calls can be posted there; else what is wrong, to be put after a name.
    pub fn check_url(url: &str) -> Result<(), &'static str> {
        let after_scheme = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let host = after_scheme.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        let Some(host) = host.filter(|host| !host.is_empty()) else {
            return Err("begins with http:// or https:// and names a host");
        };
        if host.contains('@') {
            return Err("holds no credentials: there is 'authorization' for these");
        }
        if url.len() > WEBHOOK_TEXT_BYTES_MAX {
            return Err("is too long");
        }
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("has only printable ASCII characters and no spaces");
        }
        Ok(())
    }

    /// Whether this can be the header.
    pub fn check_authorization(text: &str) -> Result<(), &'static str> {
        if text.is_empty() || text.len() > WEBHOOK_TEXT_BYTES_MAX {
            return Err("is empty or too long");
        }
        if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err("has only printable ASCII characters");
        }
        Ok(())
    }
}
