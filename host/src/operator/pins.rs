//! `wireglot codec pin|unpin`: a profile stays with one version of its codec, or follows the live one.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::client::{Client, ServerArgs, escaped};
use super::print;
use super::table::cell;

const PAYLOAD: &str = "/profileData/transportConfiguration/transportPayloadTypeConfiguration";
/// Profiles asked for at a time.
const PAGE: usize = 100;

#[derive(clap::Args, Debug)]
pub(crate) struct PinArgs {
    /// The profile.
    profile: String,
    /// The version of its codec: as it calls itself, or the first 8 or more digits of its hash.
    version: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct UnpinArgs {
    /// The profile.
    profile: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn pin(args: &PinArgs) -> anyhow::Result<()> {
    let saved = set(&args.server, &args.profile, Some(&args.version))?;
    if args.server.json {
        return print(format_args!("{saved}"));
    }
    let hash = saved.pointer(PAYLOAD).map(|payload| cell(payload, "codecHash")).unwrap_or_default();
    print(format_args!("{}: pinned to {} ({hash}).", args.profile, codec_of(&saved)?))
}

pub(crate) fn unpin(args: &UnpinArgs) -> anyhow::Result<()> {
    let saved = set(&args.server, &args.profile, None)?;
    if args.server.json {
        return print(format_args!("{saved}"));
    }
    print(format_args!("{}: follows the live version of {}.", args.profile, codec_of(&saved)?))
}

fn set(server: &ServerArgs, profile: &str, version: Option<&str>) -> anyhow::Result<Value> {
    let client = Client::connect(server)?;
    let mut shape = find(&client, profile)?;
    let codec = codec_of(&shape)?;
    let name = codec.split_once('@').map_or(codec.as_str(), |(name, _)| name);
    let pinned = version.map_or_else(|| name.to_owned(), |version| format!("{name}@{version}"));
    if let Some(codec) = shape.pointer_mut(&format!("{PAYLOAD}/codec")) {
        *codec = json!(pinned);
    }
    client.post("/api/deviceProfile", &shape)
}

fn codec_of(shape: &Value) -> anyhow::Result<String> {
    let codec = shape.pointer(&format!("{PAYLOAD}/codec")).and_then(Value::as_str);
    let profile = cell(shape, "name");
    codec.map(str::to_owned).with_context(|| format!("profile {profile} names no codec; its payload is JSON"))
}

fn find(client: &Client, name: &str) -> anyhow::Result<Value> {
    let mut names = Vec::new();
    for page in 0.. {
        let search = escaped(name);
        let answer =
            client.get(&format!("/api/deviceProfiles?pageSize={PAGE}&page={page}&textSearch={search}"))?;
        for shape in answer.get("data").and_then(Value::as_array).into_iter().flatten() {
            if cell(shape, "name") == name {
                return Ok(shape.clone());
            }
            names.push(cell(shape, "name"));
        }
        if answer.get("hasNext") != Some(&json!(true)) {
            break;
        }
    }
    match names.as_slice() {
        [] => bail!("there is no profile {name}; GET /api/deviceProfileInfos lists them"),
        names => bail!("there is no profile {name}; there is {}", names.join(", ")),
    }
}
