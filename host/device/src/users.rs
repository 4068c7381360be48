//! Users of the management side: administrators, and those who see the devices of one customer. Passwords are kept as
//! Argon2 hashes.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use wireglot_model::limits::{
    ACTIVATION_LEFT_MS_MIN, ACTIVATION_MS, PASSWORD_CHARS_MIN, TITLE_CHARS_MAX, USERS_MAX,
};
use wireglot_model::{CustomerId, Timestamp, User, UserId};
use wireglot_store::Batch;

use crate::Devices;
use crate::auth::same_secret;
use crate::error::{DeviceError, Rule};
use crate::random;

/// 19 MiB, two passes, one lane: what OWASP recommends where logins are rare and memory is shared.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A user as somebody wishes to have them.
#[derive(Clone, PartialEq, Debug)]
pub struct UserDraft {
    pub email: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    /// Whose devices they see.
    pub customer: CustomerId,
}

/// A password that was long enough, as it is kept.
pub struct HashedPassword(String);

impl HashedPassword {
    /// Hashing takes tens of milliseconds: never call this on a worker.
    pub fn new(password: &str) -> Result<Self, DeviceError> {
        if password.chars().count() < PASSWORD_CHARS_MIN {
            return Err(Rule::PasswordTooShort.into());
        }
        hash(password).map(Self)
    }
}

impl Devices {
    /// The user of this name and password. Hashing takes tens of milliseconds: never call this on a worker.
    pub fn login(&self, email: &str, password: &str) -> Result<User, DeviceError> {
        let user = self.user_by_email(email);
        // An unknown user costs as much as a wrong password, so that the answer's timing names no users.
        let hash = user.as_ref().map(|user| user.password_hash.as_str());
        // Nor is there one yet before the user has set it.
        let hash = hash.filter(|hash| !hash.is_empty()).unwrap_or(NOBODY);
        let is_right = PasswordHash::new(hash).is_ok_and(|hash| {
            argon2().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), &hash).is_ok())
        });
        user.filter(|_| is_right).ok_or(DeviceError::BadLogin)
    }

    /// Makes a user who has no password yet: `activate` sets one.
    pub async fn create_user(&self, draft: UserDraft, now: Timestamp) -> Result<User, DeviceError> {
        let UserDraft { email, first_name, last_name, customer } = draft;
        let email = email.trim().to_owned();
        check_texts(&[Some(&email), first_name.as_deref(), last_name.as_deref()])?;
        let is_address =
            email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
        if !is_address || email.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(Rule::InvalidEmail(email).into());
        }
        let activation = Some(random::secret()?);
        let (user, committed) = {
            let mut tables = self.0.tables.write();
            if !tables.customers.contains_key(&customer) {
                return Err(Rule::UnknownCustomer.into());
            }
            if tables.users.iter().any(|user| user.email.eq_ignore_ascii_case(&email)) {
                return Err(Rule::EmailTaken(email).into());
            }
            if tables.users.len() >= USERS_MAX {
                return Err(Rule::TooManyUsers.into());
            }
            let user = User {
                id: UserId(uuid::Uuid::new_v4()),
                created: now,
                email,
                // No password has this hash.
                password_hash: String::new(),
                first_name,
                last_name,
                customer: Some(customer),
                activation,
                activation_ends: Some(Timestamp(now.0.saturating_add(ACTIVATION_MS))),
            };
            let mut batch = Batch::default();
            batch.put_user(&user);
            tables.users.push(user.clone());
            (user, self.0.queue(batch))
        };
        committed.await?;
        Ok(user)
    }

    /// The token with which a user sets the first password: a new one where the one before has ended, or soon will.
    pub async fn activation(&self, id: UserId, now: Timestamp) -> Result<String, DeviceError> {
        let fresh = random::secret()?;
        let committed = {
            let mut tables = self.0.tables.write();
            let found = tables.users.iter_mut().find(|user| user.id == id);
            let user = found.ok_or(DeviceError::NotFound)?;
            let token = user.activation.as_ref().ok_or(Rule::AlreadyActivated)?;
            if activation_left_ms(user, now) >= ACTIVATION_LEFT_MS_MIN {
                return Ok(token.clone());
            }
            user.activation = Some(fresh.clone());
            user.activation_ends = Some(Timestamp(now.0.saturating_add(ACTIVATION_MS)));
            let mut batch = Batch::default();
            batch.put_user(user);
            self.0.queue(batch)
        };
        committed.await?;
        Ok(fresh)
    }

    /// Whether a user waits for this activation. Costs nothing, so it is asked before a password is hashed.
    pub fn check_activation(&self, token: &str, now: Timestamp) -> Result<(), DeviceError> {
        let tables = self.0.tables.read();
        let found = tables.users.iter().find(|user| is_activated_by(user, token));
        Ok(check_time(found.ok_or(Rule::InvalidActivation)?, now)?)
    }

    /// Sets the first password of a user; the token is good once, and until it ends.
    pub async fn activate(
        &self,
        token: &str,
        password: HashedPassword,
        now: Timestamp,
    ) -> Result<User, DeviceError> {
        let (user, committed) = {
            let mut tables = self.0.tables.write();
            let found = tables.users.iter_mut().find(|user| is_activated_by(user, token));
            let user = found.ok_or(Rule::InvalidActivation)?;
            check_time(user, now)?;
            user.password_hash = password.0;
            (user.activation, user.activation_ends) = (None, None);
            let mut batch = Batch::default();
            batch.put_user(user);
            (user.clone(), self.0.queue(batch))
        };
        committed.await?;
        Ok(user)
    }

    /// The user of this id.
    pub fn user(&self, id: UserId) -> Option<User> {
        self.0.tables.read().users.iter().find(|user| user.id == id).cloned()
    }

    fn user_by_email(&self, email: &str) -> Option<User> {
        self.0.tables.read().users.iter().find(|user| user.email.eq_ignore_ascii_case(email)).cloned()
    }
}

fn is_activated_by(user: &User, token: &str) -> bool {
    user.activation.as_ref().is_some_and(|due| same_secret(due.as_bytes(), token.as_bytes()))
}

/// How long the activation of a user still holds.
fn activation_left_ms(user: &User, now: Timestamp) -> i64 {
    let ends = user.activation_ends.map_or(user.created.0.saturating_add(ACTIVATION_MS), |ends| ends.0);
    ends.saturating_sub(now.0)
}

fn check_time(user: &User, now: Timestamp) -> Result<(), Rule> {
    if activation_left_ms(user, now) > 0 { Ok(()) } else { Err(Rule::ActivationEnded) }
}

/// Titles, names and addresses are for people: none is long.
pub(crate) fn check_texts(texts: &[Option<&str>]) -> Result<(), Rule> {
    let is_long = |text: &&str| text.chars().count() > TITLE_CHARS_MAX;
    if texts.iter().flatten().any(is_long) { Err(Rule::TitleTooLong) } else { Ok(()) }
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
