//! Who changed what: the actor of a change, and one line of the audit log.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Who made a change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// A user of the management side, by login name.
    User(String),
    /// A file that somebody changed, by its name.
    File(String),
    /// The server, by a rule of its own.
    #[default]
    Server,
}

/// What was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuditAction {
    /// A codec version went live.
    CodecLive,
    /// A codec file or upload was refused.
    CodecRejected,
    /// A codec version was taken back for an earlier one.
    CodecRolledBack,
    /// A candidate became the live version.
    CodecPromoted,
    /// A codec serves from its kept version, because its file is gone or no good.
    CodecRestored,
    /// A codec is not served any more.
    CodecRetired,
    /// A candidate serves a share of the devices.
    CanaryStarted,
    /// A canary kept its budgets and waits to be promoted.
    CanaryHeld,
    /// A canary broke a budget and was ended.
    CanaryRolledBack,
    /// A canary was ended by hand.
    CanaryStopped,
    /// A profile was made.
    ProfileCreated,
    /// A profile was changed; a pin to a codec version among it.
    ProfileChanged,
    /// A profile was deleted.
    ProfileDeleted,
    /// Another profile is the one of devices that name none.
    DefaultProfileChanged,
    /// A package for updates was made.
    PackageCreated,
    /// A package got its file.
    PackageUploaded,
    /// The additional information of a package was changed.
    PackageChanged,
    /// A package was deleted.
    PackageDeleted,
    /// A device or a profile is to have another package.
    PackageAssigned,
    /// A user was made.
    UserCreated,
    /// The facts of a user were changed.
    UserChanged,
    /// A user was deleted.
    UserDeleted,
    /// A user has another password; other sessions of that user have ended.
    PasswordChanged,
    /// A key for programs was made.
    ApiKeyCreated,
    /// A key for programs was changed, switched on or switched off.
    ApiKeyChanged,
    /// A key for programs was deleted.
    ApiKeyDeleted,
    /// Other rate limits are in force.
    RateLimitsChanged,
    /// The server was started with other settings than before.
    SettingsChanged,
}

/// One line of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What was done.
    pub action: AuditAction,
    /// To what: the name of a codec, a profile, a device or a file, the title of a package, or the login name of a user.
    pub target: String,
    /// How it ended and what it changed, for people; bounded.
    pub detail: String,
}
