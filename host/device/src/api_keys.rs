//! Keys that programs of a user show instead of a password.
//!
//! The secret is long and random, so its plain digest is all that is kept, and the digest is what a key is found by:
//! neither the store nor the time that an answer takes tells anything about secrets. Nothing is written when a key is used.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wireglot_model::limits::{API_KEY_DESCRIPTION_CHARS_MAX, API_KEYS_MAX, API_KEYS_PER_USER_MAX};
use wireglot_model::{ApiKey, ApiKeyId, AuditAction, Timestamp, User, UserId};
use wireglot_store::Batch;

use crate::Devices;
use crate::auth::sha3_hex;
use crate::error::{DeviceError, Rule};
use crate::random;

/// By it people and programs that look for leaked secrets know what they have found.
const PREFIX: &str = "wg_";

/// A key as somebody wishes to have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKeyDraft {
    pub description: String,
    pub enabled: bool,
    /// `None`: it is good for ever.
    pub expires: Option<Timestamp>,
}

/// What can be changed of a key. How long it is good cannot: who has found one shall not make it last.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ApiKeyChange {
    pub description: Option<String>,
    pub enabled: Option<bool>,
}

/// Why a key opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiKeyRefusal {
    #[error("Authentication failed")]
    Unknown,
    #[error("The API key is disabled")]
    Disabled,
    #[error("The API key has expired")]
    Expired,
}

/// All keys, and the index by which they are found.
#[derive(Default)]
pub(crate) struct ApiKeys {
    keys: HashMap<ApiKeyId, Arc<ApiKey>>,
    by_digest: HashMap<String, ApiKeyId>,
}

impl ApiKeys {
    pub(crate) fn insert(&mut self, key: ApiKey) -> Arc<ApiKey> {
        let key = Arc::new(key);
        self.by_digest.insert(key.digest.clone(), key.id);
        self.keys.insert(key.id, key.clone());
        key
    }

    /// Drops the keys of users who are deleted.
    pub(crate) fn remove_of(&mut self, gone: &HashSet<UserId>, batch: &mut Batch) {
        self.keys.retain(|id, key| {
            let stays = !gone.contains(&key.user);
            if !stays {
                self.by_digest.remove(&key.digest);
                batch.delete_api_key(*id);
            }
            stays
        });
    }

    fn of(&self, user: UserId) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.keys.values().filter(move |key| key.user == user)
    }
}

impl Devices {
    /// Makes a key of a user. Its secret, which comes with it, cannot be had again.
    pub async fn create_api_key(
        &self,
        user: UserId,
        draft: ApiKeyDraft,
        now: Timestamp,
    ) -> Result<(Arc<ApiKey>, String), DeviceError> {
        let ApiKeyDraft { description, enabled, expires } = draft;
        check_description(&description)?;
        if expires.is_some_and(|expires| expires <= now) {
            return Err(Rule::ApiKeyInPast.into());
        }
        let secret = format!("{PREFIX}{}{}", random::secret()?, random::secret()?);
        let (key, committed) = {
            let mut tables = self.0.tables.write();
            let email = tables.users.get(&user).ok_or(DeviceError::NotFound)?.email.clone();
            if tables.api_keys.of(user).count() >= API_KEYS_PER_USER_MAX {
                return Err(Rule::TooManyApiKeysOfUser.into());
            }
            if tables.api_keys.keys.len() >= API_KEYS_MAX {
                return Err(Rule::TooManyApiKeys.into());
            }
            let (id, digest) = (ApiKeyId(uuid::Uuid::new_v4()), sha3_hex(&secret));
            let key = ApiKey { id, created: now, user, description, enabled, expires, digest, version: 1 };
            let mut batch = Batch::default();
            batch.put_api_key(&key);
            self.put_change_audit(&mut batch, now, AuditAction::ApiKeyCreated, &email, named(&key));
            (tables.api_keys.insert(key), self.0.queue(batch))
        };
        committed.await?;
        Ok((key, secret))
    }

    /// Changes a key; from now on for whoever shows it.
    pub async fn change_api_key(
        &self,
        id: ApiKeyId,
        change: ApiKeyChange,
        now: Timestamp,
    ) -> Result<Arc<ApiKey>, DeviceError> {
        if let Some(description) = &change.description {
            check_description(description)?;
        }
        let (key, committed) = {
            let mut tables = self.0.tables.write();
            let stored = tables.api_keys.keys.get(&id).ok_or(DeviceError::NotFound)?;
            let mut key = ApiKey { version: stored.version + 1, ..ApiKey::clone(stored) };
            let ApiKeyChange { description, enabled } = change;
            key.description = description.unwrap_or(key.description);
            key.enabled = enabled.unwrap_or(key.enabled);
            let email = tables.users.get(&key.user).map(|user| user.email.clone());
            let mut batch = Batch::default();
            batch.put_api_key(&key);
            let state = if key.enabled { "enabled" } else { "disabled" };
            let detail = format!("{}, {state}", named(&key));
            let target = email.unwrap_or_default();
            self.put_change_audit(&mut batch, now, AuditAction::ApiKeyChanged, &target, detail);
            (tables.api_keys.insert(key), self.0.queue(batch))
        };
        committed.await?;
        Ok(key)
    }

    /// Deletes a key.
    pub async fn delete_api_key(&self, id: ApiKeyId, now: Timestamp) -> Result<(), DeviceError> {
        let committed = {
            let mut tables = self.0.tables.write();
            let key = tables.api_keys.keys.remove(&id).ok_or(DeviceError::NotFound)?;
            tables.api_keys.by_digest.remove(&key.digest);
            let email = tables.users.get(&key.user).map(|user| user.email.clone());
            let mut batch = Batch::default();
            batch.delete_api_key(id);
            let target = email.unwrap_or_default();
            self.put_change_audit(&mut batch, now, AuditAction::ApiKeyDeleted, &target, named(&key));
            self.0.queue(batch)
        };
        committed.await
    }

    /// The key of this id.
    pub fn api_key(&self, id: ApiKeyId) -> Option<Arc<ApiKey>> {
        self.0.tables.read().api_keys.keys.get(&id).cloned()
    }

    /// The keys of a user, in no order.
    pub fn api_keys_of(&self, user: UserId) -> Vec<Arc<ApiKey>> {
        self.0.tables.read().api_keys.of(user).cloned().collect()
    }

    /// Who acts where this secret is shown.
    pub fn user_of_api_key(&self, secret: &str, now: Timestamp) -> Result<Arc<User>, ApiKeyRefusal> {
        let digest = sha3_hex(secret);
        let tables = self.0.tables.read();
        let id = tables.api_keys.by_digest.get(&digest).ok_or(ApiKeyRefusal::Unknown)?;
        let key = tables.api_keys.keys.get(id).ok_or(ApiKeyRefusal::Unknown)?;
        let user = tables.users.get(&key.user).ok_or(ApiKeyRefusal::Unknown)?;
        match key.expires {
            Some(expires) if expires <= now => Err(ApiKeyRefusal::Expired),
            Some(_) | None if !key.enabled => Err(ApiKeyRefusal::Disabled),
            Some(_) | None => Ok(user.clone()),
        }
    }
}

fn check_description(description: &str) -> Result<(), Rule> {
    if description.trim().is_empty() {
        return Err(Rule::ApiKeyDescriptionMissing);
    }
    if description.chars().count() > API_KEY_DESCRIPTION_CHARS_MAX {
        return Err(Rule::ApiKeyDescriptionTooLong);
    }
    Ok(())
}

/// For the audit log.
fn named(key: &ApiKey) -> String {
    format!("API key {}, '{}'", key.id, key.description)
}
