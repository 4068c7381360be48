//! Drives updates over the air: which devices are told of their packages, and when, is decided in `host/device`.

use std::time::Duration;

use tracing::error;
use wireglot_device::{Devices, UpdatesDue, now};

/// After a failure: the store says the same again, and loudly, until the server is started anew.
const PAUSE: Duration = Duration::from_secs(10);

/// Does what is due, for as long as the server runs.
pub(crate) async fn follow(devices: Devices) {
    loop {
        let wait = match devices.advance_updates(now()).await {
            Ok(UpdatesDue::Now) => continue,
            Ok(UpdatesDue::At(time)) => {
                Some(Duration::from_millis(u64::try_from(time.0 - now().0).unwrap_or(0)))
            }
            Ok(UpdatesDue::Later) => None,
            Err(failure) => {
                error!(error = %failure, "Devices cannot be told of their updates.");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let wanted = devices.updates_wanted();
        match wait {
            None => wanted.await,
            // Either way there is something to do.
            Some(wait) => drop(tokio::time::timeout(wait, wanted).await),
        }
    }
}
