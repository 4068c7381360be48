//! Users of the management side: administrators, and those who see the devices of one customer; and which of their
//! sessions have ended.
//!
//! Not here: their passwords (`passwords`), the keys of their programs (`api_keys`).

use std::collections::HashMap;

use parking_lot::Mutex;
use uuid::Uuid;
use wireglot_model::limits::{
    ACTIVATION_LEFT_MS_MIN, ACTIVATION_MS, LOGOUTS_KEPT_MAX, TITLE_CHARS_MAX, USERS_MAX,
};
use wireglot_model::{AuditAction, CustomerId, Timestamp, User, UserId};
use wireglot_store::Batch;

use crate::Devices;
use crate::auth::same_secret;
use crate::devices::AdditionalInfo;
use crate::error::{DeviceError, Rule};
use crate::passwords::HashedPassword;
use crate::random;
use crate::registry::Tables;

/// A user as somebody wishes to have them.
#[derive(Clone, PartialEq, Debug)]
pub struct UserDraft {
    pub email: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub phone: Option<String>,
    /// A JSON object as text, or `null`.
    pub additional_info: String,
    /// Whose devices they see; `None`: an administrator.
    pub customer: Option<CustomerId>,
}

/// Sessions that have logged out, and when the last token of each ends.
#[derive(Default)]
pub(crate) struct EndedSessions(pub(crate) Mutex<HashMap<Uuid, Timestamp>>);

impl EndedSessions {
    pub(crate) fn load(ended: Vec<(Uuid, Timestamp)>) -> Self {
        Self(Mutex::new(ended.into_iter().collect()))
    }
}

impl Devices {
    /// No token of this session is good any more, here and after a restart; `until` is when the last one would end.
    pub async fn end_session(
        &self,
        session: Uuid,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), DeviceError> {
        let committed = {
            let mut ended = self.0.ended_sessions.0.lock();
            let mut batch = Batch::default();
            ended.retain(|session, until| {
                let stays = *until > now;
                if !stays {
                    batch.delete_ended_session(*session);
                }
                stays
            });
            if ended.len() >= LOGOUTS_KEPT_MAX && !ended.contains_key(&session) {
                // The one that ends first leaves the least behind.
                let first = ended.iter().min_by_key(|(_, until)| **until).map(|(session, _)| *session);
                if let Some(first) = first {
                    ended.remove(&first);
                    batch.delete_ended_session(first);
                }
            }
            ended.insert(session, until);
            batch.put_ended_session(session, until);
            self.0.queue(batch)
        };
        committed.await
    }

    /// Whether this session has logged out.
    pub fn is_session_ended(&self, session: Uuid) -> bool {
        self.0.ended_sessions.0.lock().contains_key(&session)
    }

    /// Makes a user who has no password yet: `activate` sets one.
    pub async fn create_user(&self, draft: UserDraft, now: Timestamp) -> Result<User, DeviceError> {
        let draft = checked(draft)?;
        let activation = Some(random::secret()?);
        let (user, committed) = {
            let mut tables = self.0.tables.write();
            if draft.customer.is_some_and(|customer| !tables.customers.contains_key(&customer)) {
                return Err(Rule::UnknownCustomer.into());
            }
            check_email(&tables, &draft.email, None)?;
            if tables.users.len() >= USERS_MAX {
                return Err(Rule::TooManyUsers.into());
            }
            let UserDraft { email, first_name, last_name, phone, additional_info, customer } = draft;
            let user = User {
                id: UserId(Uuid::new_v4()),
                created: now,
                email,
                // No password has this hash.
                password_hash: String::new(),
                first_name,
                last_name,
                customer,
                activation,
                activation_ends: Some(Timestamp(now.0.saturating_add(ACTIVATION_MS))),
                phone,
                additional_info,
                version: 1,
                generation: 0,
            };
            let mut batch = Batch::default();
            batch.put_user(&user);
            self.put_change_audit(&mut batch, now, AuditAction::UserCreated, &user.email, whose(&user));
            tables.users.push(user.clone());
            (user, self.0.queue(batch))
        };
        committed.await?;
        Ok(user)
    }

    /// Replaces all that can be written of a user. What they see stays: that would be another user.
    pub async fn update_user(
        &self,
        id: UserId,
        draft: UserDraft,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<User, DeviceError> {
        let draft = checked(draft)?;
        let (user, committed) = {
            let mut tables = self.0.tables.write();
            let stored = tables.users.iter().find(|user| user.id == id).ok_or(DeviceError::NotFound)?;
            if expected.is_some_and(|version| version != stored.version) {
                return Err(DeviceError::VersionConflict);
            }
            if stored.customer != draft.customer {
                return Err(Rule::UserStays.into());
            }
            check_email(&tables, &draft.email, Some(id))?;
            let detail = if stored.email == draft.email {
                String::new()
            } else {
                format!("e-mail: {} → {}", stored.email, draft.email)
            };
            let UserDraft { email, first_name, last_name, phone, additional_info, .. } = draft;
            let version = stored.version + 1;
            let user =
                User { email, first_name, last_name, phone, additional_info, version, ..stored.clone() };
            let mut batch = Batch::default();
            batch.put_user(&user);
            self.put_change_audit(&mut batch, now, AuditAction::UserChanged, &user.email, detail);
            for held in tables.users.iter_mut().filter(|held| held.id == id) {
                held.clone_from(&user);
            }
            (user, self.0.queue(batch))
        };
        committed.await?;
        Ok(user)
    }

    /// Deletes a user with the keys of their programs. The last administrator who can log in stays.
    pub async fn delete_user(&self, id: UserId, now: Timestamp) -> Result<(), DeviceError> {
        let committed = {
            let mut tables = self.0.tables.write();
            let user = tables.users.iter().find(|user| user.id == id).ok_or(DeviceError::NotFound)?.clone();
            let can_administer = |user: &User| user.customer.is_none() && !user.password_hash.is_empty();
            if can_administer(&user) && tables.users.iter().filter(|user| can_administer(user)).count() == 1 {
                return Err(Rule::LastAdministrator.into());
            }
            tables.users.retain(|other| other.id != id);
            let mut batch = Batch::default();
            self.put_deletions(&mut tables, &[user], now, &mut batch);
            self.0.queue(batch)
        };
        committed.await
    }

    /// Puts the end of users, who are in no table any more, into `batch`.
    pub(crate) fn put_deletions(
        &self,
        tables: &mut Tables,
        users: &[User],
        now: Timestamp,
        batch: &mut Batch,
    ) {
        tables.api_keys.remove_of(&users.iter().map(|user| user.id).collect(), batch);
        for user in users {
            batch.delete_user(user.id);
            self.put_change_audit(batch, now, AuditAction::UserDeleted, &user.email, whose(user));
        }
    }

    /// All users, in no order.
    pub fn users(&self) -> Vec<User> {
        self.0.tables.read().users.clone()
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

    pub(crate) fn user_by_email(&self, email: &str) -> Option<User> {
        self.0.tables.read().users.iter().find(|user| user.email.eq_ignore_ascii_case(email)).cloned()
    }
}

/// The draft as it may be saved, as far as it can be told without looking at others.
fn checked(mut draft: UserDraft) -> Result<UserDraft, Rule> {
    draft.email = draft.email.trim().to_owned();
    let UserDraft { email, first_name, last_name, phone, .. } = &draft;
    check_texts(&[Some(email), first_name.as_deref(), last_name.as_deref(), phone.as_deref()])?;
    let is_address = email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !is_address || email.chars().any(|character| character.is_whitespace() || character.is_control()) {
        return Err(Rule::InvalidEmail(email.clone()));
    }
    AdditionalInfo::checked(&draft.additional_info)?;
    Ok(draft)
}

fn check_email(tables: &Tables, email: &str, own: Option<UserId>) -> Result<(), Rule> {
    let is_taken = |user: &User| user.email.eq_ignore_ascii_case(email) && Some(user.id) != own;
    if tables.users.iter().any(is_taken) { Err(Rule::EmailTaken(email.to_owned())) } else { Ok(()) }
}

/// What a user may see, for the audit log.
fn whose(user: &User) -> String {
    user.customer.map_or_else(|| "administrator".to_owned(), |customer| format!("of customer {customer}"))
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
