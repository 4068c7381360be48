//! The server's certificate on disk: read at start, and again whenever its files change.
//!
//! A certificate that cannot be used changes nothing: the one before stays in force, and the log says what is wrong. The
//! chain and the key are two files, so between their changes they may not fit each other; that passes by itself.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tracing::{info, warn};
use wireglot_mqtt::{TlsIdentity, TlsSwitch};

use crate::config::Config;
use crate::reload::Watch;

/// The certificate's files, and what was in them when they were last looked at.
#[derive(Clone)]
pub(crate) struct Certificates {
    files: Files,
    /// `None`: they could not be read.
    seen: Option<Contents>,
}

#[derive(Clone)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
}

#[derive(Clone, PartialEq, Eq)]
struct Contents {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Certificates {
    /// The certificate of the settings; `None` where there is no TLS port.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Option<(Self, TlsIdentity)>> {
        let files = match (config.mqtt_tls_certificate.clone(), config.mqtt_tls_key.clone()) {
            (None, None) => return Ok(None),
            (Some(chain), Some(key)) => Files { chain, key },
            (Some(_), None) => {
                bail!("`mqtt_tls_certificate` is set: set `mqtt_tls_key` to the file of its key.")
            }
            (None, Some(_)) => {
                bail!(
                    "`mqtt_tls_key` is set: set `mqtt_tls_certificate` to the file of its certificate chain."
                )
            }
        };
        let contents = files.read()?;
        let identity = contents.identity()?;
        Ok(Some((Self { files, seen: Some(contents) }, identity)))
    }

    /// Puts the certificate in force again whenever a file changes, until it is dropped.
    pub(crate) async fn follow(mut self, switch: TlsSwitch, poll: Duration) {
        let mut watch = self.files.watch();
        loop {
            watch.turn(poll).await;
            let files = self.files.clone();
            let read = tokio::task::spawn_blocking(move || files.read()).await;
            match read.map_err(anyhow::Error::from).flatten() {
                Ok(contents) if self.seen.as_ref() == Some(&contents) => {}
                Ok(contents) => {
                    replace(&switch, &contents);
                    self.seen = Some(contents);
                    // What was renamed over a watched file is another file.
                    watch = self.files.watch();
                }
                // Said once, however long it stays so.
                Err(error) if self.seen.take().is_some() => {
                    warn!(
                        error = format!("{error:#}"),
                        "The certificate cannot be read; the one before stays."
                    );
                }
                Err(_) => {}
            }
        }
    }
}

fn replace(switch: &TlsSwitch, contents: &Contents) {
    match contents.identity() {
        Ok(identity) => {
            let ends_ms = identity.ends().map(|ends| ends.0);
            switch.replace(identity);
            info!(ends_ms, "The certificate was replaced.");
        }
        Err(error) => {
            warn!(error = format!("{error:#}"), "The certificate was not replaced; the one before stays.");
        }
    }
}

impl Files {
    fn read(&self) -> anyhow::Result<Contents> {
        let read = |path: &PathBuf, setting: &str| {
            std::fs::read(path)
                .with_context(|| format!("The file {} of `{setting}` cannot be read.", path.display()))
        };
        let (chain, key) = (read(&self.chain, "mqtt_tls_certificate")?, read(&self.key, "mqtt_tls_key")?);
        Ok(Contents { chain, key })
    }

    fn watch(&self) -> Watch {
        Watch::new(&[&self.chain, &self.key])
    }
}

impl Contents {
    fn identity(&self) -> anyhow::Result<TlsIdentity> {
        TlsIdentity::from_pem(&self.chain, &self.key)
            .context("`mqtt_tls_certificate` and `mqtt_tls_key` give no certificate to serve with.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(chain: Option<&str>, key: Option<&str>, words: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, text: Option<&str>| {
            let path = folder.path().join(name);
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                std::fs::write(&path, text).unwrap();
            }
            text.map(|_| path)
        };
        let config = Config {
            mqtt_tls_certificate: place("chain.pem", chain),
            mqtt_tls_key: place("key.pem", key),
            ..Config::default()
        };
        let error = format!("{:#}", Certificates::open(&config).map(drop).expect_err("it cannot be used"));
        for words in words {
            assert!(error.contains(words), "{error:?} has no {words:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_stops_the_start_and_says_where() {
        refused(Some("x"), None, &["set `mqtt_tls_key`"]);
        refused(None, Some("x"), &["set `mqtt_tls_certificate`"]);
        refused(Some(""), Some("x"), &["chain.pem", "`mqtt_tls_certificate` cannot be read"]);
        refused(Some("x"), Some(""), &["key.pem", "`mqtt_tls_key` cannot be read"]);
        refused(Some("nonsense"), Some("nonsense"), &["certificates in PEM, the server's own first"]);
        let certificate = include_str!("../device/src/tests/version-1.pem");
        refused(Some(certificate), Some(certificate), &["one unencrypted key in PEM"]);
    }

    #[test]
    fn without_a_certificate_there_is_no_port() {
        assert!(Certificates::open(&Config::default()).unwrap().is_none());
    }
}
