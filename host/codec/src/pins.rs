//! Profiles that stay with one version of a codec, whatever goes live.
//!
//! A pinned version is loaded before the profile that names it is saved, so no worker ever waits for it, and it is
//! never dropped from the kept versions. Which pins there are is the profiles' to say; here is only what they need.
//! Nothing here runs on a worker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};
use wireglot_model::{CodecHash, CodecName};

use crate::swap::{CodecPin, CodecTable};
use crate::versions::VersionError;

/// How long a version that was asked for waits for the profile that it was asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the pins are known to need.
#[derive(Default)]
pub(crate) struct Pins {
    wanted: BTreeSet<CodecPin>,
    /// Asked for by a profile that is about to be saved.
    asked: BTreeMap<CodecPin, Instant>,
    /// Told once, not at every scan.
    broken: BTreeSet<CodecPin>,
}

impl Pins {
    fn all(&self) -> BTreeSet<CodecPin> {
        self.wanted.iter().chain(self.asked.keys()).cloned().collect()
    }
}

impl CodecTable {
    /// Finds the kept version that `selector` means and makes it ready for profiles that are pinned to it. It stays so
    /// for a minute; from then on `keep_pins` has to ask for it.
    pub fn pin(&self, name: &CodecName, selector: &str) -> Result<CodecHash, VersionError> {
        let entry = {
            // Under this lock no version is dropped, so what is found here is still there when it is protected.
            let mut history = self.0.history.lock();
            let entry = crate::versions::choose(name, history.of(name), selector)?;
            let mut pins = self.0.pins.lock();
            pins.asked.insert((name.clone(), entry.hash), Instant::now());
            history.set_pinned(pins.all());
            entry
        };
        let codec = self.load_kept(name, &entry)?;
        self.replace_pinned(|pinned| drop(pinned.insert((name.clone(), entry.hash), codec)));
        Ok(entry.hash)
    }

    /// Loads every version that profiles are pinned to, and lets go of all others.
    pub fn keep_pins(&self, wanted: impl IntoIterator<Item = (CodecName, CodecHash)>) {
        let all = {
            let mut history = self.0.history.lock();
            let mut pins = self.0.pins.lock();
            pins.wanted = wanted.into_iter().collect();
            pins.asked.retain(|_, since| since.elapsed() < PATIENCE);
            history.set_pinned(pins.all());
            pins.all()
        };
        let present: BTreeSet<CodecPin> = self.pinned_versions().into_iter().collect();
        let loaded: Vec<_> =
            all.difference(&present).filter_map(|pin| Some((pin, self.load_pin(pin)?))).collect();
        if loaded.is_empty() && present.is_subset(&all) {
            return;
        }
        self.replace_pinned(|pinned| {
            pinned.retain(|pin, _| all.contains(pin));
            pinned.extend(loaded.into_iter().map(|(pin, codec)| (pin.clone(), codec)));
        });
    }

    fn load_pin(&self, pin: &CodecPin) -> Option<Arc<crate::LoadedCodec>> {
        let (name, hash) = pin;
        let loaded = self.version(name, &hash.to_string());
        let mut pins = self.0.pins.lock();
        match &loaded {
            Ok(codec) => {
                pins.broken.remove(pin);
                info!(codec = %name, version = %codec.stamp().version, %hash, "A profile is pinned to this codec version.");
            }
            Err(error) if pins.broken.insert(pin.clone()) => {
                warn!(codec = %name, %hash, %error, "A profile is pinned to a codec version that cannot be loaded; its messages are kept as dead letters.");
            }
            Err(_) => {}
        }
        loaded.ok()
    }
}
