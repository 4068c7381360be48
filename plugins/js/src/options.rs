//! The settings: the script, and what the network server would have told it.

use wireglot_sdk::{Scalar, Settings};

const KNOWN: [&str; 6] = ["script", "file", "fPort", "variables", "direction", "normalize"];

/// What a profile says beside the script.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// What the script is called in messages.
    pub(crate) file: String,
    /// The port of frames that came without one.
    pub(crate) port: Option<i64>,
    /// A JSON object; `None` where it is empty.
    pub(crate) variables: Option<String>,
    pub(crate) direction: Direction,
    pub(crate) normalize: Normalize,
}

/// Which way the frames went that the profile's devices publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Up,
    /// A copy of what was sent to devices: `decodeDownlink` reads it.
    Down,
}

/// What becomes of `normalizeUplink`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Normalize {
    /// Its measurements are kept beside the decoded data.
    Beside,
    /// They are kept instead of it.
    Only,
    /// It is not called.
    Off,
}

impl Options {
    /// Gives the script's text too; it is compiled once and not kept.
    pub(crate) fn read(settings: &Settings) -> Result<(Self, &str), String> {
        settings.only(&KNOWN)?;
        let script = settings
            .text("script")?
            .filter(|script| !script.trim().is_empty())
            .ok_or("\"script\" is missing: the text of a JavaScript codec")?;
        let file = settings.text("file")?.unwrap_or("script.js");
        if file.is_empty() || file.len() > 255 || file.contains(['\0', '\n']) {
            return Err("\"file\" must be a file's name of at most 255 bytes".into());
        }
        let port = settings.integer("fPort")?;
        if port.is_some_and(|port| !(0..=255).contains(&port)) {
            return Err("\"fPort\" must be 0 to 255".into());
        }
        let options = Self {
            file: file.to_owned(),
            port,
            variables: variables(settings)?,
            direction: match settings.text("direction")? {
                None | Some("up") => Direction::Up,
                Some("down") => Direction::Down,
                Some(_) => return Err("\"direction\" must be up or down".into()),
            },
            normalize: match settings.text("normalize")? {
                None | Some("beside") => Normalize::Beside,
                Some("only") => Normalize::Only,
                Some("off") => Normalize::Off,
                Some(_) => return Err("\"normalize\" must be beside, only or off".into()),
            },
        };
        Ok((options, script.strip_prefix('\u{feff}').unwrap_or(script)))
    }
}

fn variables(settings: &Settings) -> Result<Option<String>, String> {
    match settings.get("variables") {
        None => Ok(None),
        Some(Scalar::Nested(json)) if json.starts_with('{') => {
            let empty = json.bytes().all(|byte| matches!(byte, b'{' | b'}') || byte.is_ascii_whitespace());
            Ok((!empty).then(|| json.clone()))
        }
        Some(_) => Err("\"variables\" must be an object".into()),
    }
}
