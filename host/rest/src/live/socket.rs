//! The WebSocket of telemetry and attributes (REST §4): login, subscriptions, what they hear, and how it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use wireglot_bus::{Event, FeedItem, Follower};
use wireglot_model::DeviceId;
use wireglot_model::limits::{
    LIVE_LOGIN_TIMEOUT_S, LIVE_MESSAGE_BYTES_MAX, LIVE_PING_S, LIVE_SUBSCRIPTIONS_MAX,
};

use super::command::{About, Command, Said, Wish, bearer};
use super::subscription::{KeyRoom, Subscription, read_histories, write, write_error};
use super::{Guest, PERIOD, SEND_TIMEOUT, stop};
use crate::Api;
use crate::error::{ApiError, ErrorBody};
use crate::request::Params;
use wireglot_device::now;

const LOGIN_TIMEOUT: Duration = Duration::from_secs(LIVE_LOGIN_TIMEOUT_S);
const PING_PERIOD: Duration = Duration::from_secs(LIVE_PING_S);
const SILENCE_MAX: Duration = Duration::from_secs(3 * LIVE_PING_S);
/// How long a client may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// What is read ahead of a client, whose messages are short.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Longest reason of a close: a control frame has 125 bytes, and the code takes two.
const REASON_BYTES_MAX: usize = 123;

// The codes of RFC 6455, 7.4.1.
const GOING_AWAY: u16 = 1001;
const UNSUPPORTED: u16 = 1003;
const BAD_DATA: u16 = 1007;
const POLICY: u16 = 1008;
const TOO_LARGE: u16 = 1009;

/// Why a socket ends.
enum Ending {
    /// The client cannot be reached any more.
    Gone,
    /// The client closed the socket.
    Left,
    Closed {
        code: u16,
        reason: String,
    },
}

/// Opens the WebSocket of telemetry and attributes.
///
/// The first message carries the login, `{"authCmd":{"cmdId":0,"token":"…"},"cmds":[…]}`, and every message may carry
/// commands. The page on REST in the documentation describes them.
#[utoipa::path(
    get,
    path = "/api/ws",
    operation_id = "openTelemetrySocket",
    tag = "Live",
    responses(
        (status = 101, description = "A WebSocket from here on."),
        (status = 400, description = "The request does not ask for a WebSocket.", body = ErrorBody),
        (status = 429, description = "Too many sockets have not said yet whose they are; `Retry-After` says when to try again.", body = ErrorBody),
    ),
)]
pub(crate) async fn open(
    State(api): State<Api>,
    params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|refused| {
        ApiError::bad_request(format!("This is a WebSocket, to be opened as one: {}", refused.body_text()))
    })?;
    let place = api.live.stranger()?;
    let shown = params.text("token").map(bearer);
    Ok(upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        // Every message is flushed, and sent when the one before is gone: nothing gathers here.
        .write_buffer_size(0)
        // One that is a little too long is told so; one that is far too long is cut off.
        .max_message_size(2 * LIVE_MESSAGE_BYTES_MAX)
        .max_frame_size(2 * LIVE_MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| serve(api, socket, shown, place)))
}

/// Opens the same WebSocket as older clients do, with the token in the query.
///
/// Commands may stand in `tsSubCmds`, `attrSubCmds` and `historyCmds`, without their `type`.
#[utoipa::path(
    get,
    path = "/api/ws/plugins/telemetry",
    operation_id = "openTelemetrySocketWithToken",
    tag = "Live",
    params(("token" = Option<String>, Query, description = "An access token; without it the first message carries the login.")),
    responses(
        (status = 101, description = "A WebSocket from here on."),
        (status = 400, description = "The request does not ask for a WebSocket.", body = ErrorBody),
        (status = 429, description = "Too many sockets have not said yet whose they are; `Retry-After` says when to try again.", body = ErrorBody),
    ),
)]
pub(crate) async fn open_older(
    state: State<Api>,
    params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    open(state, params, upgrade).await
}

async fn serve(api: Api, mut socket: WebSocket, shown: Option<HeaderMap>, place: OwnedSemaphorePermit) {
    let ending = match log_in(&api, &mut socket, shown).await {
        Ok((guest, first)) => {
            drop(place);
            let mut conversation = Conversation::new(api, socket, guest);
            let ending = conversation.run(first).await;
            socket = conversation.socket;
            ending
        }
        Err(ending) => ending,
    };
    // A client that does not wait for it has ended the socket itself.
    drop(timeout(CLOSE_TIMEOUT, say_goodbye(&mut socket, ending)).await);
}

async fn say_goodbye(socket: &mut WebSocket, ending: Ending) -> Result<(), axum::Error> {
    match ending {
        Ending::Gone => return Ok(()),
        // The answer to its close goes out as the socket is read on.
        Ending::Left => {}
        Ending::Closed { code, reason } => {
            let reason =
                reason.get(..reason.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or_default().into();
            socket.send(Message::Close(Some(CloseFrame { code, reason }))).await?;
        }
    }
    // What the client has sent is read: else the kernel would take back what it has not read.
    while let Some(Ok(_rest)) = socket.recv().await {}
    Ok(())
}

/// Who it is: by the query, or by the first message, whose commands come back.
async fn log_in(
    api: &Api,
    socket: &mut WebSocket,
    shown: Option<HeaderMap>,
) -> Result<(Guest, Option<Said>), Ending> {
    let (shown, said) = match shown {
        Some(shown) => (shown, None),
        None => {
            let mut stopping = api.stopping.clone();
            let first = tokio::select! {
                first = timeout(LOGIN_TIMEOUT, first_text(socket)) => first,
                () = stop(&mut stopping) => return Err(stopped()),
            };
            let late = |_| closed(POLICY, "No authCmd came in time");
            let text = first.map_err(late)??;
            let said = Said::read(&text).map_err(|error| closed(BAD_DATA, error.message()))?;
            let missing =
                || closed(POLICY, "The first message has to carry an authCmd with a token or an apiKey");
            (said.login().ok_or_else(missing)?, Some(said))
        }
    };
    let guest = Guest::admit(api, shown).map_err(|refused| {
        closed(if refused.is_unauthorized() { BAD_DATA } else { POLICY }, refused.message())
    })?;
    Ok((guest, said))
}

async fn first_text(socket: &mut WebSocket) -> Result<String, Ending> {
    loop {
        if let Some(text) = text_of(socket.recv().await)? {
            return Ok(text);
        }
    }
}

/// The text of a message; `None` for one that only shows that the client is there.
fn text_of(message: Option<Result<Message, axum::Error>>) -> Result<Option<String>, Ending> {
    match message {
        Some(Ok(Message::Text(text))) if text.len() > LIVE_MESSAGE_BYTES_MAX => {
            Err(closed(TOO_LARGE, &format!("A message has at most {LIVE_MESSAGE_BYTES_MAX} bytes")))
        }
        Some(Ok(Message::Text(text))) => Ok(Some(text.as_str().to_owned())),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(Message::Binary(_))) => Err(closed(UNSUPPORTED, "Messages are text")),
        Some(Ok(Message::Close(_))) => Err(Ending::Left),
        None => Err(Ending::Gone),
        Some(Err(_broken)) => Err(Ending::Gone),
    }
}

fn closed(code: u16, reason: &str) -> Ending {
    Ending::Closed { code, reason: reason.to_owned() }
}

fn stopped() -> Ending {
    closed(GOING_AWAY, "The server stops")
}

/// What a socket goes on with.
enum Turn {
    Said(Option<Result<Message, axum::Error>>),
    Told(FeedItem),
    Clock,
}

/// A socket whose user is known.
struct Conversation {
    api: Api,
    socket: WebSocket,
    guest: Guest,
    follower: Follower,
    subscriptions: BTreeMap<i64, Subscription>,
    /// Events are missing: the state of everything has to be told anew.
    is_behind: bool,
    told_all: Instant,
    /// When the client was last heard; later by the time in which nobody listened.
    heard: Instant,
    pinged: Instant,
}

impl Conversation {
    fn new(api: Api, socket: WebSocket, guest: Guest) -> Self {
        let (follower, now) = (api.devices.follower(), Instant::now());
        let subscriptions = BTreeMap::new();
        let is_behind = false;
        Self {
            api,
            socket,
            guest,
            follower,
            subscriptions,
            is_behind,
            told_all: now,
            heard: now,
            pinged: now,
        }
    }

    async fn run(&mut self, first: Option<Said>) -> Ending {
        let outcome = async {
            if let Some(said) = first {
                self.obey(&said).await?;
            }
            self.converse().await
        };
        match outcome.await {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    async fn converse(&mut self) -> Result<std::convert::Infallible, Ending> {
        let mut clock = interval(PERIOD);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = self.api.stopping.clone();
        self.heard = Instant::now();
        loop {
            let turn = tokio::select! {
                message = self.socket.recv() => Turn::Said(message),
                item = self.follower.recv() => Turn::Told(item),
                _ = clock.tick() => Turn::Clock,
                () = stop(&mut stopping) => return Err(stopped()),
            };
            let began = Instant::now();
            match turn {
                Turn::Said(message) => {
                    self.heard = began;
                    if let Some(text) = text_of(message)? {
                        match Said::read(&text) {
                            Ok(said) => self.obey(&said).await?,
                            Err(error) => self.send(write_error(0, &error)).await?,
                        }
                    }
                }
                Turn::Told(FeedItem::Missed(_)) => self.is_behind = true,
                Turn::Told(FeedItem::Event(event)) => self.tell(&event).await?,
                Turn::Clock => self.look_around().await?,
            }
            // Nobody listened meanwhile: whatever the client said waits to be read, and it was not pinged either.
            self.heard += began.elapsed();
        }
    }

    /// What is due every second, whatever happens.
    async fn look_around(&mut self) -> Result<(), Ending> {
        self.check().await?;
        if self.heard.elapsed() >= SILENCE_MAX {
            return Err(Ending::Gone);
        }
        if self.is_behind && self.told_all.elapsed() >= PERIOD {
            // What comes from here on comes as an event again.
            self.is_behind = false;
            self.api.devices.settled().await;
            let ids: Vec<i64> = self.subscriptions.keys().copied().collect();
            for id in ids {
                // Each one may take long, by a slow client.
                self.check().await?;
                self.tell_state(id).await?;
            }
            self.told_all = Instant::now();
        }
        if self.pinged.elapsed() >= PING_PERIOD {
            self.pinged = Instant::now();
            self.send_message(Message::Ping(Vec::new().into())).await?;
        }
        Ok(())
    }

    /// Ends the socket whose user may not listen any more, and subscriptions of devices that the user may not see.
    async fn check(&mut self) -> Result<(), Ending> {
        self.guest.ask_again(&self.api).map_err(|refused| closed(POLICY, refused.message()))?;
        let may_see = |subscription: &Subscription| self.guest.may_see(&subscription.device);
        let lost: Vec<(i64, ApiError)> =
            self.subscriptions.iter().filter_map(|(id, s)| Some((*id, may_see(s).err()?))).collect();
        for (id, refused) in lost {
            self.unsubscribe(id);
            self.send(write_error(id, &refused)).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, event: &Event) -> Result<(), Ending> {
        let Some(device) = device_of(event).filter(|_| !self.is_behind) else { return Ok(()) };
        self.check().await?;
        let concerned =
            self.subscriptions.iter().filter(|(_, subscription)| subscription.device.id() == device);
        let concerned: Vec<i64> = concerned.map(|(id, _)| *id).collect();
        let mut left = KeyRoom::beside(self.subscriptions.values());
        // One is told before the next one is written: a large event would be as large for each.
        for id in concerned {
            let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
            let told = match subscription.change(&self.api, event, &mut left) {
                Ok(values) if values.is_empty() => continue,
                Ok(values) => write(id, &values),
                Err(error) => write_error(id, &error),
            };
            self.send(told).await?;
        }
        Ok(())
    }

    async fn obey(&mut self, said: &Said) -> Result<(), Ending> {
        for Command { id, wish } in said.commands(now().0) {
            self.check().await?;
            let done = match wish {
                Ok(Wish::Unsubscribe) => {
                    self.unsubscribe(id);
                    Ok(())
                }
                Ok(Wish::Subscribe { device, about, keys }) => self.subscribe(id, device, about, keys).await,
                Ok(Wish::History { device, query }) => self.history(id, device, &query).await,
                Err(error) => Err(error.into()),
            };
            match done {
                Ok(()) => {}
                Err(Failure::Ending(ending)) => return Err(ending),
                Err(Failure::Refused(error)) => self.send(write_error(id, &error)).await?,
            }
        }
        Ok(())
    }

    async fn subscribe(
        &mut self,
        id: i64,
        device: DeviceId,
        about: About,
        keys: Option<Vec<String>>,
    ) -> Result<(), Failure> {
        let device = self.guest.device(self.api.devices.device(device))?;
        self.unsubscribe(id);
        if self.subscriptions.len() >= LIVE_SUBSCRIPTIONS_MAX {
            let most = format!(
                "A socket has at most {LIVE_SUBSCRIPTIONS_MAX} subscriptions: end one with unsubscribe"
            );
            return Err(ApiError::bad_request(most).into());
        }
        let followed = device.id();
        let subscription = Subscription::new(device, about, keys);
        KeyRoom::beside(self.subscriptions.values()).admit(&subscription)?;
        self.subscriptions.insert(id, subscription);
        self.follow(followed);
        self.api.devices.settled().await;
        Ok(self.tell_state(id).await?)
    }

    async fn history(&mut self, id: i64, device: DeviceId, query: &Params) -> Result<(), Failure> {
        let device = self.guest.device(self.api.devices.device(device))?;
        let (values, _room) = read_histories(&self.api, &device, &[query]).await?;
        let told = write(id, &values);
        drop(values);
        Ok(self.send(told).await?)
    }

    /// Everything that a subscription is about. One that cannot be told ends.
    async fn tell_state(&mut self, id: i64) -> Result<(), Ending> {
        let mut left = KeyRoom::beside(self.subscriptions.values());
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return Ok(()) };
        let state = subscription.state(&self.api, &mut left).await;
        match state {
            Ok((values, _room)) => {
                let told = write(id, &values);
                // It may be large, and the client slow.
                drop(values);
                self.send(told).await
            }
            // What finds no room comes with all others in a while.
            Err(error) if error.is_too_many() => {
                (self.is_behind, self.told_all) = (true, Instant::now());
                Ok(())
            }
            Err(error) => {
                self.unsubscribe(id);
                self.send(write_error(id, &error)).await
            }
        }
    }

    fn unsubscribe(&mut self, id: i64) {
        if let Some(ended) = self.subscriptions.remove(&id) {
            self.follow(ended.device.id());
        }
    }

    /// Follows what the subscriptions of a device are about, or nothing of it.
    fn follow(&mut self, device: DeviceId) {
        let of_device = self.subscriptions.values().filter(|subscription| subscription.device.id() == device);
        match of_device.map(Subscription::kinds).reduce(wireglot_bus::Kinds::and) {
            Some(kinds) => self.follower.follow(device, kinds),
            None => self.follower.leave(device),
        }
    }

    async fn send(&mut self, text: String) -> Result<(), Ending> {
        self.send_message(Message::Text(text.into())).await
    }

    async fn send_message(&mut self, message: Message) -> Result<(), Ending> {
        match timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ending::Gone),
        }
    }
}

/// Why a command was not carried out.
enum Failure {
    Refused(ApiError),
    Ending(Ending),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl From<Ending> for Failure {
    fn from(ending: Ending) -> Self {
        Self::Ending(ending)
    }
}

/// The device whose subscriptions an event concerns.
fn device_of(event: &Event) -> Option<DeviceId> {
    match event {
        Event::Telemetry { device, .. }
        | Event::Attributes { device, .. }
        | Event::AttributesDeleted { device, .. } => Some(*device),
        Event::Decoded { .. }
        | Event::Failed { .. }
        | Event::Connected { .. }
        | Event::Disconnected { .. } => None,
    }
}
