//! A client of the server's REST: where it is, who asks, and what to do when it says no.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use ureq::http::{Method, Request};
use ureq::{Agent, Body};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// An upload may compile for a while.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Which server, and who asks.
#[derive(clap::Args, Debug)]
pub(crate) struct ServerArgs {
    /// The server's HTTP address.
    #[arg(long, env = "WIREGLOT_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The user who asks.
    #[arg(long, env = "WIREGLOT_USER", default_value = wireglot_device::ADMINISTRATOR_EMAIL)]
    user: String,
    /// The user's password. In the environment no other user of this machine sees it.
    #[arg(long, env = "WIREGLOT_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// An access token instead of a user and a password.
    #[arg(long, env = "WIREGLOT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print JSON, as the server gave it.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A server that somebody is logged in to.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: String,
}

/// A server's no.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    message: String,
}

impl Client {
    /// Logs in.
    pub(crate) fn connect(args: &ServerArgs) -> anyhow::Result<Self> {
        let base = args.url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            bail!(
                "--url {base} does not start with http://; for HTTPS, go through a tunnel or a proxy on this machine"
            );
        }
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
        let mut client = Self { agent: config.build().into(), base, token: String::new() };
        client.token = match (&args.token, &args.password) {
            (Some(token), _) => token.clone(),
            (None, Some(password)) => client.login(&args.user, password)?,
            (None, None) => bail!(
                "nobody is logged in: set WIREGLOT_PASSWORD to the password of {}, or WIREGLOT_TOKEN to what `wireglot login` prints",
                args.user
            ),
        };
        Ok(client)
    }

    /// An access token, for further commands.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    fn login(&self, user: &str, password: &str) -> anyhow::Result<String> {
        let claim = json!({"username": user, "password": password}).to_string();
        let answer = self.call(Method::POST, "/api/auth/login", claim.as_bytes());
        let answer = answer.with_context(|| format!("{user} cannot log in at {}", self.base))?;
        let token = json_of(&answer)?.get("token").and_then(Value::as_str).map(str::to_owned);
        token.with_context(|| format!("{} is no Wireglot server: its login gives no token", self.base))
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        json_of(&self.call(Method::GET, path, &[])?)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        json_of(&self.call(Method::POST, path, body.to_string().as_bytes())?)
    }

    /// Where the answer has no body.
    pub(crate) fn post_for_nothing(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        self.call(Method::POST, path, body.to_string().as_bytes()).map(drop)
    }

    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        json_of(&self.call(Method::DELETE, path, &[])?)
    }

    pub(crate) fn put(&self, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Value> {
        json_of(&self.send(Method::PUT, path, body, Some(kind))?)
    }

    pub(crate) fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.call(Method::GET, path, &[])
    }

    fn call(&self, method: Method, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.send(method, path, body, None)
    }

    fn send(&self, method: Method, path: &str, body: &[u8], kind: Option<&str>) -> anyhow::Result<Vec<u8>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(kind) = kind {
            request = request.header("Content-Type", kind);
        }
        if !self.token.is_empty() {
            request = request.header("X-Authorization", format!("Bearer {}", self.token));
        }
        let request = request.body(body).with_context(|| format!("--url {} is no address", self.base))?;
        let answer = self.agent.run(request).map_err(|error| {
            anyhow!(
                "no server answers at {}: {error}; start one with `wireglot serve`, or name another with --url or WIREGLOT_URL",
                self.base
            )
        })?;
        let status = answer.status().as_u16();
        let bytes = read(answer.into_body())?;
        if (200..300).contains(&status) { Ok(bytes) } else { Err(refusal(status, &bytes).into()) }
    }
}

fn read(mut body: Body) -> anyhow::Result<Vec<u8>> {
    body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec().context("the answer broke off")
}

fn json_of(bytes: &[u8]) -> anyhow::Result<Value> {
    serde_json::from_slice(bytes).context("the answer is not JSON; is this a Wireglot server?")
}

fn refusal(status: u16, body: &[u8]) -> Refusal {
    let told = serde_json::from_slice::<Value>(body).ok();
    let told = told.as_ref().and_then(|body| body.get("message")?.as_str()).unwrap_or("no reason given");
    let advice = match status {
        401 => "; check the user, WIREGLOT_PASSWORD or WIREGLOT_TOKEN",
        429 => {
            "; too many logins: wait a minute, then log in once for many commands with `export WIREGLOT_TOKEN=$(wireglot login)`"
        }
        _ => "",
    };
    Refusal { status, message: format!("the server says {status}: {told}{advice}") }
}

/// A text as one segment of a path or one value of a query.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte as char),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_letter_is_escaped() {
        assert_eq!(escaped("elsys-1.2_x~"), "elsys-1.2_x~");
        assert_eq!(escaped("a/b c?ä"), "a%2Fb%20c%3F%C3%A4");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let body = br#"{"message":"Authentication failed"}"#;
        let text = refusal(401, body).to_string();
        assert!(text.contains("Authentication failed") && text.contains("WIREGLOT_PASSWORD"), "{text}");
        assert_eq!(refusal(500, b"<html>").to_string(), "the server says 500: no reason given");
    }
}
