//! Users of the management side: passwords are kept as Argon2 hashes.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use wireglot_model::{User, UserId};

use crate::Devices;
use crate::error::{DeviceError, Rule};
use crate::random;

/// 19 MiB, two passes, one lane: what OWASP recommends where logins are rare and memory is shared.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

impl Devices {
    /// The user of this name and password. Hashing takes tens of milliseconds: never call this on a worker.
    pub fn login(&self, email: &str, password: &str) -> Result<User, DeviceError> {
        let user = self.user_by_email(email);
        // An unknown user costs as much as a wrong password, so that the answer's timing names no users.
        let hash = user.as_ref().map_or(NOBODY, |user| &user.password_hash);
        let is_right = PasswordHash::new(hash).is_ok_and(|hash| {
            argon2().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), &hash).is_ok())
        });
        user.filter(|_| is_right).ok_or(DeviceError::BadLogin)
    }

    /// The user of this id.
    pub fn user(&self, id: UserId) -> Option<User> {
        self.0.tables.read().users.iter().find(|user| user.id == id).cloned()
    }

    fn user_by_email(&self, email: &str) -> Option<User> {
        self.0.tables.read().users.iter().find(|user| user.email.eq_ignore_ascii_case(email)).cloned()
    }
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
}
