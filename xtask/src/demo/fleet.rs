//! What the demo's devices are: read from the very file that the server applies.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::process::root;

/// A device that publishes the vectors of its profile's codec.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Simulated {
    pub(super) name: String,
    pub(super) token: String,
    pub(super) topic: String,
    pub(super) vectors: PathBuf,
}

pub(super) fn read(file: &Path) -> anyhow::Result<Vec<Simulated>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    parse(&text).with_context(|| file.display().to_string())
}

fn parse(text: &str) -> anyhow::Result<Vec<Simulated>> {
    let fleet: toml::Table = text.parse()?;
    let profiles = tables(&fleet, "profile");
    tables(&fleet, "device").into_iter().map(|device| simulated(device, &profiles)).collect()
}

fn simulated(device: &toml::Table, profiles: &[&toml::Table]) -> anyhow::Result<Simulated> {
    let name = word(device, &["name"])?;
    let profile = word(device, &["profile"])?;
    let profile = profiles
        .iter()
        .find(|candidate| word(candidate, &["name"]).is_ok_and(|name| name == profile))
        .with_context(|| format!("device `{name}`: there is no profile `{profile}`"))?;
    let transport = "transportConfiguration";
    let codec = word(profile, &[transport, "transportPayloadTypeConfiguration", "codec"])?;
    let filter = word(profile, &[transport, "deviceTelemetryTopic"])?;
    Ok(Simulated {
        token: word(device, &["credentials", "credentialsId"])?,
        // A profile's topic is a filter; each device fills the wildcard with its name.
        topic: filter.replace('+', &name),
        vectors: root().join("plugins").join(&codec).join("vectors").join(format!("{codec}.json")),
        name,
    })
}

fn tables<'a>(fleet: &'a toml::Table, key: &str) -> Vec<&'a toml::Table> {
    let values = fleet.get(key).and_then(toml::Value::as_array);
    values.into_iter().flatten().filter_map(toml::Value::as_table).collect()
}

fn word(table: &toml::Table, path: &[&str]) -> anyhow::Result<String> {
    let (last, tables) = path.split_last().context("a path has a last part")?;
    let mut table = table;
    for key in tables {
        table =
            table.get(*key).and_then(toml::Value::as_table).with_context(|| format!("`{key}` is missing"))?;
    }
    let word = table.get(*last).and_then(toml::Value::as_str);
    Ok(word.with_context(|| format!("`{last}` is missing"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickstart_fleet_has_a_device_and_vectors_for_every_codec() {
        let devices = read(&root().join("examples/quickstart/fleet.toml")).unwrap();
        assert_eq!(devices.len(), 5);
        for device in devices {
            assert!(device.vectors.is_file(), "{}", device.vectors.display());
            assert!(device.topic.contains(&device.name), "{}", device.topic);
        }
    }

    #[test]
    fn a_device_of_no_profile_is_named() {
        let error = parse("[[device]]\nname = \"a\"\nprofile = \"b\"").unwrap_err();
        assert!(error.to_string().contains("no profile `b`"), "{error}");
    }
}
