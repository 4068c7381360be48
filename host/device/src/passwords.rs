//! Passwords of users, kept as Argon2 hashes: who has which, what a new one must be, and what a change of one ends.

use std::sync::Arc;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use wireglot_model::limits::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN};
use wireglot_model::{AuditAction, Timestamp, User, UserId};
use wireglot_store::Batch;

use crate::Devices;
use crate::error::{DeviceError, Rule};
use crate::random;

/// 19 MiB, two passes, one lane: what OWASP recommends where logins are rare and memory is shared.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A password that keeps the rules, as it is kept.
pub struct HashedPassword(pub(crate) String);

impl HashedPassword {
    /// Hashing takes tens of milliseconds: never call this on a worker.
    pub fn new(password: &str) -> Result<Self, DeviceError> {
        match password.chars().count() {
            ..PASSWORD_CHARS_MIN => Err(Rule::PasswordTooShort.into()),
            PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX => hash(password).map(Self),
            _ => Err(Rule::PasswordTooLong.into()),
        }
    }

    /// The one that comes after `current`.
    pub fn after(current: &str, wanted: &str) -> Result<Self, DeviceError> {
        if current == wanted { Err(Rule::SamePassword.into()) } else { Self::new(wanted) }
    }
}

impl Devices {
    /// The user of this name and password. Hashing takes tens of milliseconds: never call this on a worker.
    pub fn login(&self, email: &str, password: &str) -> Result<Arc<User>, DeviceError> {
        let user = self.user_by_email(email);
        // An unknown user costs as much as a wrong password, so that the answer's timing names no users.
        let is_right = is_password(user.as_deref(), password);
        user.filter(|_| is_right).ok_or(DeviceError::BadLogin)
    }

    /// Whether this is the password of a user. Hashing takes tens of milliseconds: never call this on a worker.
    pub fn check_password(&self, user: &User, password: &str) -> Result<(), DeviceError> {
        if is_password(Some(user), password) { Ok(()) } else { Err(Rule::WrongPassword.into()) }
    }

    /// Puts a password in force. Sessions that began under the one before have ended with it, here and after a restart;
    /// keys for programs stay. `generation` is that of the password which was shown.
    pub async fn change_password(
        &self,
        id: UserId,
        password: HashedPassword,
        generation: u32,
        now: Timestamp,
    ) -> Result<Arc<User>, DeviceError> {
        let (user, committed) = {
            let mut tables = self.0.tables.write();
            let user = tables.users.get_mut(&id).ok_or(DeviceError::NotFound)?;
            if user.generation != generation {
                return Err(DeviceError::VersionConflict);
            }
            let changed = Arc::make_mut(user);
            changed.password_hash = password.0;
            changed.generation = generation.wrapping_add(1);
            let mut batch = Batch::default();
            batch.put_user(user);
            let (action, detail) = (AuditAction::PasswordChanged, String::new());
            self.put_change_audit(&mut batch, now, action, &user.email, detail);
            (user.clone(), self.0.queue(batch))
        };
        committed.await?;
        Ok(user)
    }
}

fn is_password(user: Option<&User>, password: &str) -> bool {
    // There is no password before the user has set it.
    let hash = user.map(|user| user.password_hash.as_str()).filter(|hash| !hash.is_empty()).unwrap_or(NOBODY);
    PasswordHash::new(hash).is_ok_and(|hash| {
        argon2().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), &hash).is_ok())
    })
}

/// The hash of a password that nobody knows, with the parameters of all others.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$VGhpcyBpcyBub3QgYSBoYXNoIG9mIGFueXRoaW5nISE";

/// The Argon2 hash of a new password, in PHC format.
pub(crate) fn hash(password: &str) -> Result<String, DeviceError> {
    if password.is_empty() {
        return Err(Rule::PasswordEmpty.into());
    }
    let salt = SaltString::encode_b64(&random::bytes::<16>()?).map_err(no_secret)?;
    Ok(argon2()?.hash_password(password.as_bytes(), &salt).map_err(no_secret)?.to_string())
}

fn argon2() -> Result<Argon2<'static>, DeviceError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(no_secret)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn no_secret(error: impl std::fmt::Display) -> DeviceError {
    DeviceError::NoSecret(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_verifies_its_password_only() {
        let hash = hash("correct horse").unwrap();
        let parsed = PasswordHash::new(&hash).unwrap();
        assert!(argon2().unwrap().verify_password(b"correct horse", &parsed).is_ok());
        assert!(argon2().unwrap().verify_password(b"correct horse ", &parsed).is_err());
    }

    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let (nobody, somebody) = (PasswordHash::new(NOBODY).unwrap(), hash("x").unwrap());
        let somebody = PasswordHash::new(&somebody).unwrap();
        assert_eq!((nobody.algorithm, &nobody.params), (somebody.algorithm, &somebody.params));
        assert_eq!(nobody.hash.map(|hash| hash.len()), somebody.hash.map(|hash| hash.len()));
    }

    #[test]
    fn a_password_is_neither_short_nor_endless() {
        let of = |chars: usize| HashedPassword::new(&"ä".repeat(chars)).map(drop);
        assert!(matches!(of(PASSWORD_CHARS_MIN - 1), Err(DeviceError::Invalid(Rule::PasswordTooShort))));
        of(PASSWORD_CHARS_MIN).unwrap();
        of(PASSWORD_CHARS_MAX).unwrap();
        assert!(matches!(of(PASSWORD_CHARS_MAX + 1), Err(DeviceError::Invalid(Rule::PasswordTooLong))));
    }
}
