//! Every setting: type, default, range, help text. Declared once, in the table below.
//!
//! A setting comes from, in rising order: its default, the file of `--config`, the environment
//! (`WIREGLOT_` and the name in capitals), the command line. Unknown keys stop the start.
//! A change counts at the next start; what changes while the server runs is not a setting: profiles, devices and
//! codecs (`fleet.rs`, `reload.rs`, REST).

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use wireglot_device::{Dates, RpcRules, RpcStrategy};
use wireglot_model::{Networks, Webhook, limits};
use wireglot_store::Durability;

/// What the documentation and the readers of files and environment know of one setting.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) range: &'static str,
    pub(crate) help: &'static str,
    apply: fn(&mut Config, &str) -> anyhow::Result<()>,
}

macro_rules! settings {
    ($( $(#[doc = $help:literal])+ $name:ident: $kind:ty = $default:literal, $range:literal, $parse:expr; )+) => {
        /// The settings in force.
        #[derive(Clone, Debug)]
        pub(crate) struct Config { $( $(#[doc = $help])+ pub(crate) $name: $kind, )+ }

        /// All settings, in the order of the documentation.
        pub(crate) const SETTINGS: &[Setting] = &[ $( Setting {
            name: stringify!($name),
            default: $default,
            range: $range,
            help: concat!($($help),+),
            apply: |config, text| { config.$name = $parse(text)?; Ok(()) },
        }, )+ ];

        impl Config {
            /// Every setting with its value, secrets hidden.
            pub(crate) fn shown(&self) -> std::collections::BTreeMap<&'static str, String> {
                [ $( (stringify!($name), format!("{:?}", self.$name)), )+ ].into()
            }
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $( $name: $parse($default).expect("a test parses every default"), )+ }
            }
        }
    };
}

settings! {
    /// Where devices, telemetry, codec versions and the compile cache are kept. Made with mode 0700.
    data_dir: PathBuf = "./data", "a folder", path;
    /// The folder that codec plugins are dropped into. Made if it is not there.
    codecs: PathBuf = "./codecs", "a folder", path;
    /// A file of profiles, devices and credentials that is applied at start and again whenever it changes. Empty: none.
    fleet: Option<PathBuf> = "", "a file, or empty", optional_path;
    /// Where devices connect (MQTT 3.1.1 and 5).
    mqtt_bind: SocketAddr = "0.0.0.0:1883", "ADDRESS:PORT; port 0 takes a free one", address;
    /// The certificate chain of the TLS port in PEM, the server's own certificate first. Empty: no TLS port. A changed file counts from the next connection on, without a restart.
    mqtt_tls_certificate: Option<PathBuf> = "", "a file, or empty", optional_path;
    /// The private key of that certificate in PEM, unencrypted. It is looked at again together with the certificate.
    mqtt_tls_key: Option<PathBuf> = "", "a file, or empty", optional_path;
    /// Where devices connect with TLS 1.2 or 1.3, where there is a certificate.
    mqtt_tls_bind: SocketAddr = "0.0.0.0:8883", "ADDRESS:PORT; port 0 takes a free one", address;
    /// Whether a client's certificate counts only between its dates, or for ever.
    mqtt_tls_client_dates: Dates = "check", "check, ignore", dates;
    /// Whether each MQTT connection begins with a PROXY header, version 1 or 2, as a load balancer writes it. Whoever reaches the port can then say any address, so nobody else may; a connection without a header is closed.
    mqtt_proxy_protocol: bool = "false", "true, false", truth;
    /// Wrong logins in a row, wrong keys or secrets of provisioning and deletions of connected devices among them, after which connections from an address are dropped for `mqtt_block_s`. 0: never. Many devices behind one address share its count.
    mqtt_wrong_logins_max: u32 = "0", "0..=1000000", |text| whole(text, 0..=1_000_000);
    /// For how long, from the last wrong login on, in seconds.
    mqtt_block_s: Duration = "60", "1..=86400", |text| whole(text, 1..=86_400).map(Duration::from_secs);
    /// Where REST, health and metrics are served.
    http_bind: SocketAddr = "0.0.0.0:8080", "ADDRESS:PORT; port 0 takes a free one", address;
    /// Reverse proxies in front of that port, as addresses and networks with commas between them. A request that comes from one of them is of the client that its `X-Forwarded-For` names: the last address there that is no such proxy. Wrong logins and wrong tokens of devices are counted by that address. Headers of everybody else are not looked at. Empty: none, and whoever connects is the client.
    http_trusted_proxies: Networks = "", "addresses and networks, such as 10.0.0.0/8, 127.0.0.1, ::1; or empty", networks;
    /// Worker threads for connections, routing and decoding. 0: one for each core.
    workers: usize = "0", "0..=256", |text| whole(text, 0..=256);
    /// When a message is acknowledged: `commit` after it is on disk, `interval:MS` after it is written with a sync every MS milliseconds, `os` after it is written with no sync of ours.
    durability: Durability = "commit", "commit, interval:1..=10000, os", durability;
    /// How long a commit waits for company at low load, in milliseconds. More saves CPU, less saves latency.
    commit_gather_ms: Duration = "2", "0..=50", |text| whole(text, 0..=50).map(milliseconds);
    /// Longest time a codec may spend on one message, behind its fuel; its worker serves nobody else meanwhile.
    codec_deadline_ms: u64 = "20", "1..=1000", |text| whole(text, 1..=1000);
    /// Fuel of one codec call, in WebAssembly instructions: the limit that is the same on every machine.
    codec_fuel: u64 = "20000000", "100000..=10000000000", |text| whole(text, 100_000..=10_000_000_000);
    /// How often the codecs folder is looked at even if nothing announced a change, in seconds: network file systems announce nothing.
    codecs_poll_s: Duration = "5", "1..=3600", |text| whole(text, 1..=3600).map(Duration::from_secs);
    /// Largest package for updates over the air, in MiB.
    ota_package_mib_max: u64 = "256", "1..=16384", |text| whole(text, 1..=16_384);
    /// All such packages together, in MiB. They lie in the data folder.
    ota_packages_mib_max: u64 = "10240", "1..=1048576", |text| whole(text, 1..=1_048_576);
    /// When the next RPC of a device is sent: `burst` at once, `sequential-on-ack` when the device has acknowledged the one before it, `sequential-on-response` when that is answered.
    rpc_submit_strategy: RpcStrategy = "burst", "burst, sequential-on-ack, sequential-on-response", rpc_strategy;
    /// How often an RPC that a device does not acknowledge is sent again at most.
    rpc_retries_max: u32 = "5", "0..=100", |text| whole(text, 0..=100);
    /// How long the acknowledgement of an RPC is waited for, in milliseconds.
    rpc_ack_timeout_ms: i64 = "10000", "100..=600000", |text| whole(text, 100..=600_000);
    /// How long the response to an RPC is waited for with `sequential-on-response`, in milliseconds.
    rpc_response_timeout_ms: i64 = "30000", "100..=3600000", |text| whole(text, 100..=3_600_000);
    /// Whether a device that does not acknowledge an RPC after all retries loses its session and gets the RPC again when it is back; otherwise the RPC has failed.
    rpc_close_session_on_timeout: bool = "false", "true, false", truth;
    /// The shortest time that a caller of an RPC waits, whatever `timeout` says, in milliseconds.
    rpc_timeout_ms_min: i64 = "5000", "0..=600000", |text| whole(text, 0..=600_000);
    /// How long a caller of an RPC waits where there is no `timeout`, in milliseconds.
    rpc_timeout_ms: i64 = "10000", "100..=600000", |text| whole(text, 100..=600_000);
    /// Whether a JSON string that looks like a number is stored as one.
    json_type_cast: bool = "true", "true, false", truth;
    /// The longest string value in JSON, in UTF-16 units; 0: the packet is the limit.
    json_string_chars_max: usize = "0", "0..=65536", |text| whole(text, 0..=65_536);
    /// Silence after which a session is closed, in seconds, whatever its keep alive; longer keep alives are answered with two thirds of it.
    session_inactivity_s: u16 = "600", "3..=3600", |text| whole(text, limits::SESSION_INACTIVITY_S);
    /// How often a gateway's `gatewayMetrics` are written, in seconds: the latencies of its connectors.
    gateway_metrics_s: u16 = "60", "1..=3600", |text| whole(text, 1..=3_600);
    /// How many devices there may be; 0: as many as there is room for. Those that are there stay.
    devices_max: usize = "0", "0..=10000000", |text| whole(text, 0..=10_000_000);
    /// Silence after which a device counts as inactive (server attribute `active`), in seconds, where its own server attribute `inactivityTimeout` (milliseconds) does not say.
    device_inactivity_s: Duration = "600", "1..=31536000", |text| whole(text, 1..=31_536_000).map(Duration::from_secs);
    /// How often devices that have become inactive are looked for, in seconds.
    device_check_s: Duration = "60", "1..=3600", |text| whole(text, 1..=3600).map(Duration::from_secs);
    /// Password of the administrator `tenant@thingsboard.org`, set when the data folder is new. Empty: a random one, printed once.
    admin_password: Secret = "", "at least 8 characters, or empty", secret;
    /// Whether a device may let itself be claimed by a customer without the server attribute `claimingAllowed`.
    claim_allowed_by_default: bool = "true", "true, false", truth;
    /// How long a device may be claimed if it does not say, in milliseconds.
    claim_duration_ms: i64 = "86400000", "1000..=31536000000", |text| whole(text, 1_000..=31_536_000_000);
    /// How long a client-side RPC may wait for its answer, in milliseconds; then the device gets `{"error":"timeout"}`.
    client_rpc_timeout_ms: Duration = "60000", "100..=60000", |text| whole(text, 100..=limits::CLIENT_RPC_TIMEOUT_MS).map(|ms| milliseconds(ms.into()));
    /// Where client-side RPCs are posted to that nobody else answers, unless the device's profile names a webhook of its own. Empty: nowhere.
    client_rpc_webhook: Option<String> = "", "an http:// or https:// address, or empty", webhook_url;
    /// The `Authorization` header for that address. Empty: none.
    client_rpc_webhook_authorization: Secret = "", "printable ASCII, or empty", authorization;
    /// How long that address may take for one call, in milliseconds.
    client_rpc_webhook_timeout_ms: u32 = "10000", "100..=60000", |text| whole(text, limits::WEBHOOK_TIMEOUT_MS);
    /// What is logged: a level, or `tracing` directives such as `info,wireglot_codec=debug`.
    log: String = "info", "tracing directives", text;
    /// How log lines are written.
    log_format: LogFormat = "text", "text, json", log_format;
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text, where one was given.
    pub(crate) fn given(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// What the settings say about RPCs.
    pub(crate) fn rpc_rules(&self) -> RpcRules {
        RpcRules {
            strategy: self.rpc_submit_strategy,
            retries_max: self.rpc_retries_max,
            ack_timeout_ms: self.rpc_ack_timeout_ms,
            response_timeout_ms: self.rpc_response_timeout_ms,
            closes_session: self.rpc_close_session_on_timeout,
            timeout_ms_min: self.rpc_timeout_ms_min,
            timeout_ms: self.rpc_timeout_ms,
        }
    }

    /// Reads the file, where there is one, then the environment, then what the command line gives.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let mut config = Self::default();
        if let Some(file) = file {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("The settings file {} cannot be read.", file.display()))?;
            config.apply_file(&text).with_context(|| format!("in {}", file.display()))?;
        }
        for (name, value) in environment {
            let Some(name) = name.strip_prefix("WIREGLOT_").map(str::to_lowercase) else { continue };
            // Orchestrators put names of their own under our prefix, so an unknown one is no error here.
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
                let shown = format!("environment variable WIREGLOT_{}", name.to_uppercase());
                (setting.apply)(&mut config, &value).with_context(|| shown)?;
            }
        }
        for (name, value) in flags {
            let setting = SETTINGS.iter().find(|setting| setting.name == *name);
            let setting = setting.expect("flags are named after settings");
            (setting.apply)(&mut config, value).with_context(|| format!("--{}", name.replace('_', "-")))?;
        }
        Ok(config)
    }

    fn apply_file(&mut self, text: &str) -> anyhow::Result<()> {
        let table = toml::de::DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            anyhow::anyhow!("line {line}: {}", error.message())
        })?;
        for (key, value) in table.get_ref() {
            let line = line_of(text, key.span().start);
            let Some(setting) = SETTINGS.iter().find(|setting| setting.name == key.get_ref().as_ref()) else {
                bail!("line {line}: there is no setting `{}`{}", key.get_ref(), nearest(key.get_ref()));
            };
            let plain = match value.get_ref() {
                toml::de::DeValue::String(text) => text.to_string(),
                toml::de::DeValue::Integer(number) => number.to_string(),
                toml::de::DeValue::Boolean(truth) => truth.to_string(),
                _ => bail!("line {line}: `{}` takes a text or a number ({})", setting.name, setting.range),
            };
            (setting.apply)(self, &plain).with_context(|| format!("line {line}: `{}`", setting.name))?;
        }
        Ok(())
    }
}

/// `docs/configuration.md`, generated from the table.
pub(crate) fn documentation() -> String {
    let mut page = String::from(
        "# Settings\n\nGenerated by `cargo xtask docs` from `host/src/config.rs`. Every setting is a key of the file given with \
         `--config`, and an environment variable: `WIREGLOT_` and the name in capitals. The environment wins over the \
         file, the command line over both. An unknown key in the file stops the start; `wireglot config check` tells \
         without starting. A change counts at the next start; codecs, the fleet file and what REST writes count at once.\n\n\
         | Setting | Default | Range |\n|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { "empty" } else { setting.default };
        writeln!(page, "| `{}` | `{default}` | {} |", setting.name, setting.range)
            .expect("writing to a String cannot fail");
    }
    for setting in SETTINGS {
        writeln!(page, "\n**`{}`**:{}", setting.name, setting.help).expect("writing to a String cannot fail");
    }
    page
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn nearest(key: &str) -> String {
    let near = SETTINGS.iter().find(|setting| {
        setting.name.replace('_', "") == key.replace(['-', '_'], "").to_lowercase()
            || setting.name.starts_with(key)
            || key.starts_with(setting.name)
    });
    near.map(|setting| format!("; did you mean `{}`?", setting.name)).unwrap_or_default()
}

fn path(text: &str) -> anyhow::Result<PathBuf> {
    if text.is_empty() {
        bail!("must not be empty");
    }
    Ok(PathBuf::from(text))
}

fn optional_path(text: &str) -> anyhow::Result<Option<PathBuf>> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

fn address(text: &str) -> anyhow::Result<SocketAddr> {
    text.parse().with_context(|| format!("`{text}` is not ADDRESS:PORT, such as 0.0.0.0:1883 or [::]:1883"))
}

fn networks(text: &str) -> anyhow::Result<Networks> {
    Ok(Networks::parse(text)?)
}

fn whole<N>(text: &str, range: std::ops::RangeInclusive<N>) -> anyhow::Result<N>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse::<N>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => bail!("`{text}` is not a whole number in {}..={}", range.start(), range.end()),
    }
}

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn truth(text: &str) -> anyhow::Result<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        other => bail!("`{other}` is none of true, false"),
    }
}

fn dates(text: &str) -> anyhow::Result<Dates> {
    match text {
        "check" => Ok(Dates::Count),
        "ignore" => Ok(Dates::Ignored),
        other => bail!("`{other}` is none of check, ignore"),
    }
}

fn durability(text: &str) -> anyhow::Result<Durability> {
    match text {
        "commit" => Ok(Durability::Commit),
        "os" => Ok(Durability::Os),
        other => match other.strip_prefix("interval:") {
            Some(number) => Ok(Durability::IntervalMs(whole(number, 1..=10_000)?)),
            None => bail!("`{other}` is none of commit, interval:MS, os"),
        },
    }
}

fn rpc_strategy(text: &str) -> anyhow::Result<RpcStrategy> {
    match text {
        "burst" => Ok(RpcStrategy::Burst),
        "sequential-on-ack" => Ok(RpcStrategy::SequentialOnAck),
        "sequential-on-response" => Ok(RpcStrategy::SequentialOnResponse),
        other => bail!("`{other}` is none of burst, sequential-on-ack, sequential-on-response"),
    }
}

fn secret(text: &str) -> anyhow::Result<Secret> {
    if !text.is_empty() && text.chars().count() < limits::PASSWORD_CHARS_MIN {
        bail!("must have at least {} characters", limits::PASSWORD_CHARS_MIN);
    }
    Ok(Secret(text.to_owned()))
}

fn webhook_url(text: &str) -> anyhow::Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    Webhook::check_url(text).map_err(|problem| anyhow::anyhow!("the address of a webhook {problem}"))?;
    Ok(Some(text.to_owned()))
}

fn authorization(text: &str) -> anyhow::Result<Secret> {
    if !text.is_empty() {
        Webhook::check_authorization(text).map_err(|problem| anyhow::anyhow!("the header {problem}"))?;
    }
    Ok(Secret(text.to_owned()))
}

fn text(text: &str) -> anyhow::Result<String> {
    Ok(text.to_owned())
}

fn log_format(text: &str) -> anyhow::Result<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => bail!("`{other}` is none of text, json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str) -> anyhow::Result<Config> {
        let mut config = Config::default();
        config.apply_file(text)?;
        Ok(config)
    }

    #[track_caller]
    fn refused(text: &str, words: &str) {
        let error = format!("{:#}", from_file(text).expect_err(text));
        assert!(error.contains(words), "{text:?}: {error:?} has no {words:?}");
    }

    #[test]
    fn defaults_are_in_range_and_the_later_source_wins() {
        let file = from_file("workers = 3\nmqtt_bind = \"127.0.0.1:0\"\n").expect("valid");
        assert_eq!((file.workers, file.mqtt_bind.port()), (3, 0));
        let environment =
            [("WIREGLOT_WORKERS".to_owned(), "4".to_owned()), ("PATH".to_owned(), String::new())];
        let config = Config::load(None, environment.into_iter(), &[]).expect("valid");
        assert_eq!(config.workers, 4);
        let environment = [("WIREGLOT_WORKERS".to_owned(), "4".to_owned())];
        let config = Config::load(None, environment.into_iter(), &[("workers", "5".into())]).expect("valid");
        assert_eq!(config.workers, 5);
    }

    #[test]
    fn a_wrong_key_or_value_names_line_key_and_range() {
        refused("\nworkres = 1\n", "line 2: there is no setting `workres`");
        refused("mqtt-bind = \"x\"", "did you mean `mqtt_bind`?");
        refused("workers = 257", "`257` is not a whole number in 0..=256");
        refused("workers = []", "line 1: `workers` takes a text or a number");
        refused("codec_deadline_ms = 0", "1..=1000");
        refused("ota_package_mib_max = 16385", "1..=16384");
        refused("ota_packages_mib_max = 0", "1..=1048576");
        refused("commit_gather_ms = 51", "0..=50");
        refused("session_inactivity_s = 2", "3..=3600");
        refused("device_inactivity_s = 0", "1..=31536000");
        refused("device_check_s = 3601", "1..=3600");
        refused("durability = \"interval:0\"", "1..=10000");
        refused("durability = \"never\"", "none of commit, interval:MS, os");
        refused("mqtt_tls_client_dates = \"maybe\"", "none of check, ignore");
        refused("mqtt_proxy_protocol = \"v2\"", "none of true, false");
        refused("mqtt_wrong_logins_max = 1000001", "0..=1000000");
        refused("mqtt_block_s = 0", "1..=86400");
        refused("http_trusted_proxies = \"10.0.0.1/8\"", "write 10.0.0.0/8 for the network");
        refused("http_trusted_proxies = \"proxy.example\"", "neither an address nor a network");
        refused("rpc_submit_strategy = \"BURST\"", "none of burst, sequential-on-ack");
        refused("rpc_close_session_on_timeout = 1", "none of true, false");
        refused("rpc_ack_timeout_ms = 99", "100..=600000");
        refused("admin_password = \"short\"", "at least 8");
        refused("log_format = \"xml\"", "none of text, json");
        refused("claim_allowed_by_default = 1", "none of true, false");
        refused("claim_duration_ms = 999", "1000..=31536000000");
        refused("a = [", "line 1");
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = from_file("admin_password = \"correct horse\"").expect("valid");
        assert!(!format!("{config:?}").contains("horse"));
    }
}
