//! When devices were there: what sessions report is written together, and who has fallen silent is looked for.

use std::time::Duration;

use tracing::error;
use wireglot_device::{Devices, now};

/// How long reports wait for company.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// Writes and looks until it is dropped.
pub(crate) async fn follow(devices: Devices, check: Duration, inactivity: Duration) {
    let (mut save_turn, mut check_turn) = (tokio::time::interval(SAVE_EVERY), tokio::time::interval(check));
    // The first look waits for a turn: a restart must not find silent who had no time to come back.
    check_turn.reset();
    loop {
        tokio::select! {
            _ = save_turn.tick() => save(&devices).await,
            _ = check_turn.tick() => {
                save(&devices).await;
                look(&devices, inactivity).await;
            }
        }
    }
}

/// Writes what has been reported.
pub(crate) async fn save(devices: &Devices) {
    if let Err(error) = devices.save_activity(now()).await {
        error!(%error, "The activity of devices could not be stored.");
    }
}

/// Looks for devices that have fallen silent, on a thread that may take its time: it looks at all of them.
async fn look(devices: &Devices, inactivity: Duration) {
    let looking = devices.clone();
    let overdue = tokio::task::spawn_blocking(move || looking.overdue(now(), inactivity)).await;
    let turned = match overdue {
        Ok(overdue) => devices.turn_inactive(&overdue, now(), inactivity).await,
        Err(error) => return error!(%error, "The look for inactive devices broke off."),
    };
    if let Err(error) = turned {
        error!(%error, "The inactivity of devices could not be stored.");
    }
}
