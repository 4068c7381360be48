//! Users of the management side: administrators, and those who see the devices of one customer; and which of their
//! sessions have ended.
//!
//! Not here: their passwords (`passwords`), the keys of their programs (`api_keys`).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::warn;
use uuid::Uuid;
use wireglot_model::limits::{
    ACTIVATION_LEFT_MS_MIN, ACTIVATION_MS, LOGOUTS_KEPT_MAX, LOGOUTS_PER_USER_MAX, TITLE_CHARS_MAX, USERS_MAX,
};
use wireglot_model::{Actor, AuditAction, AuditEntry, CustomerId, Timestamp, User, UserId};
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

/// Sessions that have logged out, whose they were, and when the last token of each ends.
#[derive(Default)]
pub(crate) struct EndedSessions(pub(crate) Mutex<HashMap<Uuid, Ended>>);

/// The end of a session.
pub(crate) struct Ended {
    pub(crate) user: UserId,
    pub(crate) until: Timestamp,
}

impl EndedSessions {
    pub(crate) fn load(ended: Vec<(Uuid, UserId, Timestamp)>) -> Self {
        Self(Mutex::new(
            ended.into_iter().map(|(session, user, until)| (session, Ended { user, until })).collect(),
        ))
    }
}

impl Ended {
    /// Whether its tokens would still be good. What is told of one that need not be known any more goes into `batch`.
    fn stays(&self, session: Uuid, now: Timestamp, batch: &mut Batch) -> bool {
        let stays = self.until > now;
        if !stays {
            batch.delete_ended_session(session);
        }
        stays
    }
}

/// Whose sessions all end so that one more end of a session of `user` finds room; `None`: there is room.
fn crowding(ended: &HashMap<Uuid, Ended>, user: UserId) -> Option<UserId> {
    let mut of: HashMap<UserId, usize> = HashMap::new();
    for ended in ended.values() {
        *of.entry(ended.user).or_default() += 1;
    }
    if of.get(&user).is_some_and(|own| *own >= LOGOUTS_PER_USER_MAX) {
        return Some(user);
    }
    // Those of whom it was not noted, in early versions, end by themselves.
    of.remove(&UserId(Uuid::nil()));
    // Who has the most has taken the room, not whoever comes last.
    let most = of.into_iter().max_by_key(|(user, count)| (*count, *user)).map(|(user, _)| user);
    most.filter(|_| ended.len() >= LOGOUTS_KEPT_MAX)
}

impl Devices {
    /// No token of this session is good any more, here and after a restart; `until` is when the last one would end.
    ///
    /// None is forgotten before. Where a user has ended too many, all sessions of that user end instead.
    pub async fn end_session(
        &self,
        user: UserId,
        session: Uuid,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), DeviceError> {
        let committed = {
            // Before the tables, here and everywhere. Whoever asks whether a session has ended before looking at its user
            // sees either the end or the new generation.
            let mut ended = self.0.ended_sessions.0.lock();
            let mut batch = Batch::default();
            ended.retain(|session, end| end.stays(*session, now, &mut batch));
            let crowding = if ended.contains_key(&session) { None } else { crowding(&ended, user) };
            let mut tables = crowding.map(|_| self.0.tables.write());
            if let Some((of, tables)) = crowding.zip(tables.as_mut()) {
                for (session, _) in ended.extract_if(|_, end| end.user == of) {
                    batch.delete_ended_session(session);
                }
                end_all_sessions(tables, of, &mut batch);
            }
            if crowding != Some(user) {
                ended.insert(session, Ended { user, until });
                batch.put_ended_session(session, user, until);
            }
            self.0.queue(batch)
        };
        committed.await
    }

    /// Whether this session has logged out.
    pub fn is_session_ended(&self, session: Uuid) -> bool {
        self.0.ended_sessions.0.lock().contains_key(&session)
    }

    /// Makes a user who has no password yet: `activate` sets one.
    pub async fn create_user(&self, draft: UserDraft, now: Timestamp) -> Result<Arc<User>, DeviceError> {
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
            let user = Arc::new(User {
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
            });
            let mut batch = Batch::default();
            batch.put_user(&user);
            self.put_change_audit(&mut batch, now, AuditAction::UserCreated, &user.email, whose(&user));
            tables.users.insert(user.id, user.clone());
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
    ) -> Result<Arc<User>, DeviceError> {
        let draft = checked(draft)?;
        let (user, committed) = {
            let mut tables = self.0.tables.write();
            let stored = tables.users.get(&id).ok_or(DeviceError::NotFound)?;
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
            let stored = User::clone(stored);
            let user = User { email, first_name, last_name, phone, additional_info, version, ..stored };
            let user = Arc::new(user);
            let mut batch = Batch::default();
            batch.put_user(&user);
            self.put_change_audit(&mut batch, now, AuditAction::UserChanged, &user.email, detail);
            tables.users.insert(id, user.clone());
            (user, self.0.queue(batch))
        };
        committed.await?;
        Ok(user)
    }

    /// Deletes a user with the keys of their programs. The last administrator who can log in stays.
    pub async fn delete_user(&self, id: UserId, now: Timestamp) -> Result<(), DeviceError> {
        let committed = {
            let mut tables = self.0.tables.write();
            let user = tables.users.get(&id).ok_or(DeviceError::NotFound)?.clone();
            let can_administer = |user: &User| user.customer.is_none() && !user.password_hash.is_empty();
            if can_administer(&user) && tables.users.values().filter(|user| can_administer(user)).count() == 1
            {
                return Err(Rule::LastAdministrator.into());
            }
            tables.users.remove(&id);
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
        users: &[Arc<User>],
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
    pub fn users(&self) -> Vec<Arc<User>> {
        self.0.tables.read().users.values().cloned().collect()
    }

    /// The token with which a user sets the first password: a new one where the one before has ended, or soon will.
    pub async fn activation(&self, id: UserId, now: Timestamp) -> Result<String, DeviceError> {
        let fresh = random::secret()?;
        let committed = {
            let mut tables = self.0.tables.write();
            let user = tables.users.get_mut(&id).ok_or(DeviceError::NotFound)?;
            let token = user.activation.as_ref().ok_or(Rule::AlreadyActivated)?;
            if activation_left_ms(user, now) >= ACTIVATION_LEFT_MS_MIN {
                return Ok(token.clone());
            }
            let changed = Arc::make_mut(user);
            changed.activation = Some(fresh.clone());
            changed.activation_ends = Some(Timestamp(now.0.saturating_add(ACTIVATION_MS)));
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
        let found = tables.users.values().find(|user| is_activated_by(user, token));
        Ok(check_time(found.ok_or(Rule::InvalidActivation)?, now)?)
    }

    /// Sets the first password of a user; the token is good once, and until it ends.
    pub async fn activate(
        &self,
        token: &str,
        password: HashedPassword,
        now: Timestamp,
    ) -> Result<Arc<User>, DeviceError> {
        let (user, committed) = {
            let mut tables = self.0.tables.write();
            let found = tables.users.values_mut().find(|user| is_activated_by(user, token));
            let user = found.ok_or(Rule::InvalidActivation)?;
            check_time(user, now)?;
            let changed = Arc::make_mut(user);
            changed.password_hash = password.0;
            (changed.activation, changed.activation_ends) = (None, None);
            let mut batch = Batch::default();
            batch.put_user(user);
            // The link is the login of whoever sets it.
            let (actor, target) = (Actor::User(user.email.clone()), user.email.clone());
            let (action, detail) = (AuditAction::PasswordChanged, "the first one".to_owned());
            self.put_audit(&mut batch, AuditEntry { at: now, actor, action, target, detail });
            (user.clone(), self.0.queue(batch))
        };
        committed.await?;
        Ok(user)
    }

    /// The user of this id.
    pub fn user(&self, id: UserId) -> Option<Arc<User>> {
        self.0.tables.read().users.get(&id).cloned()
    }

    pub(crate) fn user_by_email(&self, email: &str) -> Option<Arc<User>> {
        self.0.tables.read().users.values().find(|user| user.email.eq_ignore_ascii_case(email)).cloned()
    }
}

/// Ends all sessions of a user; keys for programs stay.
fn end_all_sessions(tables: &mut Tables, user: UserId, batch: &mut Batch) {
    // The sessions of one who is deleted have ended anyway.
    let Some(user) = tables.users.get_mut(&user) else { return };
    let generation = user.generation.wrapping_add(1);
    Arc::make_mut(user).generation = generation;
    batch.put_user(user);
    warn!(
        user = user.email,
        "All sessions of a user have ended, because so many of them logged out within days."
    );
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
    let is_taken = |user: &Arc<User>| user.email.eq_ignore_ascii_case(email) && Some(user.id) != own;
    if tables.users.values().any(is_taken) { Err(Rule::EmailTaken(email.to_owned())) } else { Ok(()) }
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
