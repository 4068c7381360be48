//! Every bound of the product, and how they relate. Each is crossed by a test.

use std::ops::RangeInclusive;

/// Largest MQTT packet: the remaining length of one packet (device API §2.8).
pub const PACKET_BYTES_MAX: usize = 65_536;
/// Publishes of one connection that may wait for their acknowledgement (device API §2.9).
pub const IN_FLIGHT_MAX: u16 = 100;
/// Filters in one SUBSCRIBE.
pub const SUBSCRIBE_FILTERS_MAX: usize = 64;
/// How long a client may take from TCP accept to a whole CONNECT.
pub const CONNECT_TIMEOUT_S: u16 = 10;
/// Longest header of the PROXY protocol, with its extensions.
pub const PROXY_HEADER_BYTES_MAX: usize = 4_096;
/// Certificates in the chain that a client shows.
pub const CLIENT_CHAIN_MAX: usize = 8;
/// Longest pattern by which a profile finds the names of devices in their certificates, in bytes.
pub const NAME_PATTERN_BYTES_MAX: usize = 1_024;
/// Addresses whose wrong logins are remembered at a time.
pub const WRONG_LOGIN_ADDRESSES_MAX: usize = 65_536;
/// What the time after which a session without activity ends may be set to, in seconds (device API §4.2).
pub const SESSION_INACTIVITY_S: RangeInclusive<u16> = 3..=3_600;
/// How long one packet may take from its first byte to its last.
pub const PACKET_TIMEOUT_S: u16 = 30;
/// Bytes of publishes of one connection that may wait for their acknowledgement; past it, one packet may overshoot.
pub const IN_FLIGHT_BYTES_MAX: usize = 4 * PACKET_BYTES_MAX;
/// Connections of one worker; past it, new ones wait to be accepted.
pub const WORKER_CONNECTIONS_MAX: usize = 100_000;
/// Subscriptions of one connection. The fixed filters are 23, the rest is for a profile's own filter.
pub const SUBSCRIPTIONS_MAX: usize = 64;
/// Topic aliases of one MQTT 5 connection.
pub const TOPIC_ALIASES_MAX: u16 = 16;
/// Commands that wait for one device to read or to acknowledge; past it, the device is disconnected.
pub const DEVICE_OUTBOX_MAX: usize = 100;

/// Beyond that number a gateway's connection holds one more for each device behind it, while all of them together are no
/// larger than this.
pub const GATEWAY_OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long sessions may finish what they have begun when the server stops.
pub const DRAIN_TIMEOUT_S: u16 = 10;
/// Commands waiting in one worker's mailbox.
pub const MAILBOX_COMMANDS_MAX: usize = 4_096;
/// Calls of one device that may wait for their answer; past it, a call is answered with an error at once.
pub const CLIENT_RPC_WAITING_MAX: usize = 32;
/// Largest answer to a call: with its topic it fits a packet.
pub const CLIENT_RPC_ANSWER_BYTES_MAX: usize = 60 * 1024;
/// How long a call may wait for its answer, in milliseconds (device API §13).
pub const CLIENT_RPC_TIMEOUT_MS: u32 = 60_000;
/// Methods that a responder may name, and shared attributes that it may ask to see.
pub const RESPONDER_NAMES_MAX: usize = 64;
/// What a webhook may take for one call, in milliseconds.
pub const WEBHOOK_TIMEOUT_MS: RangeInclusive<u32> = 100..=CLIENT_RPC_TIMEOUT_MS;
/// What it may take where nothing is said.
pub const WEBHOOK_TIMEOUT_MS_DEFAULT: u32 = 10_000;
/// Calls of webhooks that run at a time.
pub const WEBHOOK_CALLS_MAX: usize = 64;
/// Those of them that go to one address: a webhook that hangs leaves room for the others.
pub const WEBHOOK_CALLS_PER_URL_MAX: usize = 16;
/// Calls of one webhook that run or wait; past it, a call is answered with an error at once.
pub const WEBHOOK_WAITING_PER_URL_MAX: usize = 256;
/// Longest address of a webhook, and longest `Authorization` header for it.
pub const WEBHOOK_TEXT_BYTES_MAX: usize = 4_096;

/// Requests of devices without a connection that wait for one worker.
pub const DESK_REQUESTS_MAX: usize = 1_024;
/// Requests of one device that wait for an attribute update or an RPC at a time; one more ends the oldest.
pub const POLLS_PER_DEVICE_MAX: usize = 4;
/// Requests of all devices that wait so: half of the connections of the HTTP port.
pub const POLLS_MAX: usize = 2_048;
/// How long such a request may wait, in milliseconds; what asks for more waits for the longest time.
pub const POLL_MS: RangeInclusive<u32> = 1..=300_000;
/// How long it waits where it does not say, in milliseconds.
pub const POLL_MS_DEFAULT: u32 = 60_000;
/// Longest name of a network server's event beside its message, in bytes.
pub const EVENT_NAME_BYTES_MAX: usize = 32;

/// Longest telemetry or attribute key, in characters (device API §8.4).
pub const KEY_CHARS_MAX: usize = 255;
/// Attributes that one device may have in one scope.
pub const ATTRIBUTES_PER_SCOPE_MAX: usize = 4_096;
/// Devices that one gateway may bring.
pub const GATEWAY_DEVICES_MAX: usize = 10_000;

/// From this many profiles on, a gateway that names an unknown one for its devices makes none.
pub const GATEWAY_PROFILES_MAX: usize = 1_000;

/// Sub-sessions of one connection: devices behind a gateway or an edge node that are there at a time.
pub const CHILD_SESSIONS_MAX: usize = GATEWAY_DEVICES_MAX;

/// Dead letters that one publish about many devices makes; of more refused parts it makes one letter.
pub const GATEWAY_LETTERS_MAX: usize = 16;

/// Frames for codecs in one publish of a gateway: a worker decodes them in one go.
pub const GATEWAY_FRAMES_MAX: usize = 512;

/// Connectors whose latencies a gateway reports in one period; those of more are not counted.
pub const GATEWAY_CONNECTORS_MAX: usize = 64;
/// How far the time in an envelope may lie ahead of our clock; past it, our clock is right.
pub const ENVELOPE_AHEAD_MS_MAX: i64 = 5 * 60 * 1_000;
/// The earliest time that an envelope can state, 2015-01-01: LoRaWAN is no older.
pub const ENVELOPE_TIME_MS_MIN: i64 = 1_420_070_400_000;
/// Named segments in one topic filter of a profile.
pub const NAMED_SEGMENTS_MAX: usize = 8;
/// Longest name of such a segment, in bytes.
pub const SEGMENT_NAME_BYTES_MAX: usize = 32;
/// Longest name of a device or a profile, in characters.
pub const NAME_CHARS_MAX: usize = 255;
/// Longest key or secret of a profile's provisioning, and longest secret of a claim, in bytes.
pub const SECRET_BYTES_MAX: usize = 1_024;
/// Sessions that only provision, in the whole process.
pub const PROVISION_SESSIONS_MAX: usize = 1_024;
/// Requests of one such session.
pub const PROVISION_REQUESTS_MAX: usize = 32;
/// How long such a session may go on after its first answer (device API §15.3).
pub const PROVISION_ANSWERED_S: u16 = 60;
/// Longest part of a device's credentials, in bytes; a certificate is the longest.
pub const CREDENTIALS_BYTES_MAX: usize = 16 * 1024;
/// Nesting of a JSON payload (device API §8.1).
pub const JSON_DEPTH_MAX: usize = 255;
/// Largest exponent magnitude of a JSON number that is expanded (device API §8.3).
pub const JSON_EXPONENT_MAX: u32 = 400;

/// Names of metrics that a profile may have stored as attributes.
pub const SPARKPLUG_ATTRIBUTE_METRICS_MAX: usize = 256;
/// What the births of one Sparkplug connection may take in memory together: the names and types of their metrics.
pub const SPARKPLUG_BIRTH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest protobuf schema.
pub const PROTO_SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Nesting of blocks in a protobuf schema.
pub const PROTO_SCHEMA_DEPTH_MAX: usize = 64;
/// Nesting of a protobuf message.
pub const PROTO_DEPTH_MAX: usize = 100;
/// What the nested values of one protobuf message may become as JSON, in bytes.
pub const PROTO_JSON_BYTES_MAX: usize = 1024 * 1024;

/// Longest codec name.
pub const CODEC_NAME_BYTES_MAX: usize = 64;
/// Largest script that is a codec.
pub const CODEC_SCRIPT_BYTES_MAX: usize = 1024 * 1024;
/// How many times the memory of a compiled codec a script may take: 32 MiB.
pub const CODEC_SCRIPT_MEMORY_FACTOR: usize = 2;
/// How many times the fuel and the deadline of a compiled codec a script may take: 100 ms.
pub const CODEC_SCRIPT_TIME_FACTOR: u64 = 5;
/// Versions of the script engine that are kept for the scripts that ran on them.
pub const CODEC_ENGINES_KEPT_MAX: usize = 8;
/// Nesting of the examples in a vendor's file.
pub const EXAMPLES_DEPTH_MAX: usize = 64;
/// Largest component file.
pub const CODEC_MODULE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Linear memory of one codec instance.
pub const CODEC_MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a codec may make the host allocate for one result (wasmtime's hostcall fuel).
pub const CODEC_RESULT_BYTES_MAX: usize = 1024 * 1024;
/// Messages in one result.
pub const CODEC_MESSAGES_MAX: usize = 1_024;
/// Samples in one result, over all messages.
pub const CODEC_SAMPLES_MAX: usize = 8_192;
/// Warnings kept of one result.
pub const CODEC_WARNINGS_MAX: usize = 16;
/// Longest warning or reason kept, in bytes.
pub const CODEC_REASON_BYTES_MAX: usize = 512;
/// Fuel of one call: about 20 ms of compiled code on a slow machine.
pub const CODEC_FUEL_PER_CALL: u64 = 20_000_000;
/// Wall-clock deadline of one call, behind the fuel, in ticks of 1 ms.
pub const CODEC_DEADLINE_TICKS: u64 = 20;
/// Native stack of a codec.
pub const CODEC_STACK_BYTES_MAX: usize = 1024 * 1024;
/// Stack of a worker thread.
pub const WORKER_STACK_BYTES: usize = 8 * 1024 * 1024;
/// Calls after which an instance is replaced by a fresh one.
pub const CODEC_CALLS_PER_INSTANCE_MAX: u32 = 10_000;
/// Live instances in the whole process.
pub const CODEC_INSTANCES_MAX: u32 = 4_096;
/// Linear memory of one instance of a codec that imports WASI: it brings a whole language with it.
pub const CODEC_WASI_MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Fuel of one call of such a codec.
pub const CODEC_WASI_FUEL_PER_CALL: u64 = 100_000_000;
/// Deadline of one call of such a codec, in ticks of 1 ms.
pub const CODEC_WASI_DEADLINE_TICKS: u64 = 100;
/// Live instances of such codecs in the whole process.
pub const CODEC_WASI_INSTANCES_MAX: u32 = 256;
/// Random bytes that such a codec may ask for at once.
pub const CODEC_RANDOM_BYTES_MAX: usize = 64 * 1024;
/// Largest component that is compiled in the server's own process.
pub const CODEC_COMPILED_IN_PLACE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Codecs that may be live at the same time.
pub const CODECS_MAX: usize = 1_024;
/// Core instances in one component: what the largest of the tried toolchains needs.
pub const CODEC_CORE_INSTANCES_MAX: u32 = 45;
/// Linear memories in one component, likewise.
pub const CODEC_MEMORIES_MAX: u32 = 4;
/// Elements of one of a codec's tables.
pub const CODEC_TABLE_ELEMENTS_MAX: usize = 20_000;
/// Keys that a codec may describe.
pub const CODEC_KEYS_DESCRIBED_MAX: usize = 1_024;
/// Largest file of vectors.
pub const CODEC_VECTORS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Vectors that a codec may have to decode before it goes live.
pub const CODEC_VECTORS_MAX: usize = 2_048;
/// Traps in a row after which a codec version is not called for a while.
pub const CODEC_TRAPS_IN_A_ROW_MAX: u32 = 8;
/// First pause of a codec version that keeps trapping; each further one is twice as long.
pub const CODEC_PAUSE_MS_MIN: u64 = 1_000;
/// Longest such pause.
pub const CODEC_PAUSE_MS_MAX: u64 = 60_000;
/// What a profile may set the deadline of its codec to, in milliseconds: a worker serves nobody else meanwhile.
pub const PROFILE_DEADLINE_MS: RangeInclusive<u32> = 1..=1_000;
/// What a profile may set the memory of an instance to, in MiB.
pub const PROFILE_MEMORY_MIB: RangeInclusive<u32> = 1..=256;
/// What a profile may set the size of a result to, in KiB.
pub const PROFILE_RESULT_KIB: RangeInclusive<u32> = 1..=4_096;
/// What a profile may set the messages of a result to.
pub const PROFILE_MESSAGES: RangeInclusive<u32> = 1..=4_096;
/// What a profile may set the samples of a result to.
pub const PROFILE_VALUES: RangeInclusive<u32> = 1..=32_768;
/// What a profile may set the warnings kept of a result to.
pub const PROFILE_WARNINGS: RangeInclusive<u32> = 0..=256;
/// What a profile may set the traps in a row to, after which its codec pauses.
pub const PROFILE_TRAPS_IN_A_ROW: RangeInclusive<u32> = 1..=1_000;
/// What a profile may set the first pause to, in milliseconds.
pub const PROFILE_PAUSE_MS: RangeInclusive<u32> = 10..=60_000;
/// Compiled codecs kept on disk.
pub const CODEC_CACHE_FILES_MAX: usize = 4_096;
/// How long a file must lie unchanged before it is read as a codec.
pub const CODEC_FILE_STABLE_MS: i64 = 100;
/// Versions of one codec that are kept for a rollback.
pub const CODEC_VERSIONS_KEPT_MAX: usize = 16;
/// Codecs whose history is kept, those out of service among them.
pub const CODEC_HISTORIES_MAX: usize = 2 * CODECS_MAX;
/// Events of one codec that its history tells.
pub const CODEC_EVENTS_MAX: usize = 256;
/// Changes that the audit log tells.
pub const AUDIT_ENTRIES_MAX: u64 = 10_000;
/// Longest detail of an entry of the audit log, in bytes.
pub const AUDIT_DETAIL_BYTES_MAX: usize = 2_048;
/// Candidates that are tried at the same time.
pub const CANDIDATES_MAX: usize = 64;
/// Frames that wait to be decoded in the shadow; past it, they are dropped and counted.
pub const SHADOW_QUEUE_FRAMES_MAX: usize = 1_024;
/// Bytes of such frames.
pub const SHADOW_QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Profiles whose frames are decoded in the shadow at a time; each needs two instances.
pub const SHADOW_PROFILES_MAX: usize = 16;
/// Keys that a report of differences counts apart.
pub const SHADOW_KEYS_MAX: usize = 256;
/// Examples that a report keeps.
pub const SHADOW_EXAMPLES_MAX: usize = 32;
/// Examples of one key.
pub const SHADOW_EXAMPLES_PER_KEY_MAX: usize = 3;
/// Bytes of a frame that an example shows.
pub const SHADOW_EXAMPLE_BYTES_MAX: usize = 256;
/// Traps, deadlines and over-large results of a candidate after which its canary ends at once.
pub const CANARY_HARD_FAILURES_MAX: u32 = 4;
/// Longest time that a canary may be asked to last.
pub const CANARY_DURATION_S_MAX: u64 = 30 * 24 * 3_600;

/// Bytes of batches that may wait for the commit thread before workers stop reading.
pub const COMMIT_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Batches that may wait for the commit thread.
pub const COMMIT_QUEUE_BATCHES_MAX: usize = 65_536;
/// Distinct telemetry keys in the whole installation.
pub const KEYS_MAX: usize = 1_000_000;
/// Dead letters kept per installation; past it, those of the profile with the most go first.
pub const DEAD_LETTERS_MAX: usize = 100_000;
/// Bytes of dead letters kept.
pub const DEAD_LETTER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Dead letters kept per profile, where the profile does not say.
pub const PROFILE_DEAD_LETTERS: u32 = 10_000;
/// Bytes of them.
pub const PROFILE_DEAD_LETTER_BYTES: u64 = 64 * 1024 * 1024;
/// Their age.
pub const PROFILE_DEAD_LETTER_DAYS: u32 = 30;
/// The largest age that a profile may ask for.
pub const PROFILE_DEAD_LETTER_DAYS_MAX: u32 = 3_650;
/// The longest time that a profile may keep raw frames: a year.
pub const RAW_RETENTION_HOURS_MAX: u32 = 8_760;
/// Bytes on disk of raw frames in the whole installation; the oldest go first.
pub const RAW_FRAME_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Frames that a replay decodes before it waits for the disk.
pub const REPLAY_FRAMES_AT_ONCE: usize = 256;
/// Changes, failures and reasons that the report of a replay shows.
pub const REPLAY_EXAMPLES_MAX: usize = 20;
/// Bytes of a payload that it shows.
pub const REPLAY_EXAMPLE_BYTES_MAX: usize = 64;
/// Events a slow listener of the live feed may lag behind before it loses some.
pub const FEED_EVENTS_MAX: usize = 1_024;
/// Bytes of such events.
pub const FEED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a frame that the live trace shows.
pub const TRACE_PAYLOAD_BYTES_MAX: usize = 1_024;
/// Values of a frame that the live trace shows.
pub const TRACE_VALUES_MAX: usize = 256;
/// Bytes of a text in the live trace.
pub const TRACE_TEXT_BYTES_MAX: usize = 512;

/// Customers in the whole installation.
pub const CUSTOMERS_MAX: usize = 100_000;
/// Users of the management side.
pub const USERS_MAX: usize = 10_000;
/// Longest e-mail address or name of a user, and longest title of a customer, in characters.
pub const TITLE_CHARS_MAX: usize = 255;
/// Packages for updates over the air that there may be.
pub const OTA_PACKAGES_MAX: usize = 10_000;
/// Longest title, version or tag of such a package, in characters.
pub const OTA_TEXT_CHARS_MAX: usize = 255;
/// Longest address of a package that lies elsewhere, and longest name of a file, in bytes.
pub const OTA_URL_BYTES_MAX: usize = 1_024;
/// Largest part of a package that a device may ask for with a size (device API §16.5).
pub const OTA_CHUNK_BYTES_MAX: u64 = 65_536;
/// Largest package that a device may ask for as a whole; it goes out as one packet.
pub const OTA_WHOLE_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of packages that are on their way from the disk to devices at a time, in the whole process.
pub const OTA_BYTES_IN_FLIGHT_MAX: u64 = 1024 * 1024;
/// How long a device may take to read a part of a package; past it, it is disconnected, because others wait.
pub const OTA_PART_TIMEOUT_S: u16 = 30;
/// Downloads that a connection remembers the package of; the one that was used longest ago is forgotten first.
pub const OTA_DOWNLOADS_REMEMBERED_MAX: usize = 8;
/// Requests of a connection that may wait for the device's acknowledgements; past it, it is disconnected.
pub const OTA_REQUESTS_WAITING_MAX: usize = 256;
/// Bytes of their topics.
pub const OTA_REQUESTS_WAITING_BYTES_MAX: usize = 64 * 1024;
/// Devices that are told of an update in `OTA_PUSH_PERIOD_S` (device API §16.2).
pub const OTA_PUSHES_MAX: usize = 100;
/// The time that belongs to it.
pub const OTA_PUSH_PERIOD_S: u32 = 60;
/// Devices whose updates are queued with one commit.
pub const OTA_DEVICES_AT_ONCE: usize = 256;

/// Server-side RPCs of one device that wait for it or for its answer; past it, new ones are refused.
pub const RPCS_PENDING_PER_DEVICE_MAX: usize = 100;
/// RPCs on their way into one session at a time: the rest waits where it does not fill the session's outbox.
pub const RPCS_UNDER_WAY_MAX: usize = 32;
/// How long an RPC that is not persistent is waited for at most, in milliseconds: its caller is gone by then.
pub const RPC_WAIT_MS_MAX: i64 = 3_600_000;
/// Publishes of QoS 1 to one device that it has not acknowledged, however many it says it takes.
pub const DEVICE_UNACKNOWLEDGED_MAX: u16 = 1_024;
/// Longest method of an RPC, in bytes.
pub const RPC_METHOD_BYTES_MAX: usize = 255;
/// Longest parameters of an RPC, in bytes of JSON text.
pub const RPC_PARAMS_BYTES_MAX: usize = 64 * 1024;
/// Longest additional info of an RPC, in bytes of JSON text.
pub const RPC_INFO_BYTES_MAX: usize = 4 * 1024;
/// Bytes of RPCs that wait, over all devices; past it, new ones are refused.
pub const RPC_PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Persistent RPCs that are kept; past it, the oldest finished ones go.
pub const RPCS_KEPT_MAX: usize = 100_000;
/// Bytes of them.
pub const RPC_KEPT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Requests to the management side that wait for a device's answer at a time.
pub const RPC_WAITERS_MAX: usize = 512;

/// Parts of one rate limit.
pub const RATE_PARTS_MAX: usize = 8;
/// The largest count in a rate limit.
pub const RATE_CAPACITY_MAX: u64 = 1_000_000_000;
/// The longest period of a rate limit: 31 days.
pub const RATE_PERIOD_S_MAX: u64 = 31 * 24 * 3_600;
/// Devices whose activity is written in one commit.
pub const ACTIVITY_DEVICES_PER_COMMIT: usize = 512;
/// Characters of a client id that the list of sessions shows.
pub const SESSION_CLIENT_ID_CHARS_MAX: usize = 256;

/// How long the link holds by which a new user sets the first password, in milliseconds: a day.
pub const ACTIVATION_MS: i64 = 24 * 3_600_000;
/// Whoever asks for the link gets one that holds at least so long: what is left of an older one may be less.
pub const ACTIVATION_LEFT_MS_MIN: i64 = 15 * 60_000;
/// Shortest password of a user.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Longest password of a user, in characters.
pub const PASSWORD_CHARS_MAX: usize = 256;
/// Longest additional info of a device or a user, and longest details of a customer, in bytes of JSON text.
pub const ADDITIONAL_INFO_BYTES_MAX: usize = 64 * 1024;
/// Device profiles that there may be.
pub const PROFILES_MAX: usize = 10_000;
/// Devices of a profile whose keys are looked at to tell the keys of the profile.
pub const PROFILE_KEYS_DEVICES_MAX: usize = 100;
/// Keys for programs that one user may have.
pub const API_KEYS_PER_USER_MAX: usize = 100;
/// Keys for programs that there may be.
pub const API_KEYS_MAX: usize = 20_000;
/// Longest description of such a key, in characters.
pub const API_KEY_DESCRIPTION_CHARS_MAX: usize = 255;
/// Points that one REST answer may hold.
pub const HISTORY_POINTS_MAX: usize = 100_000;
/// Bytes of such an answer.
pub const HISTORY_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Intervals that a range may be cut into.
pub const HISTORY_INTERVALS_MAX: i64 = 10_000;
/// Histories and aggregations that are read at a time; the others wait for their turn.
pub const LONG_READS_MAX: usize = 2;
/// Latest values and lists of keys that are read at a time.
pub const SHORT_READS_MAX: usize = 2;
/// Bytes of histories that clients have not taken yet, in the whole process; past it, no other is read.
pub const ANSWERS_UNSENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Deletions of time series at a time.
pub const ERASURES_MAX: usize = 8;
/// What one read may hold of what was stored out of order; past it, the far part is read again later.
pub const READ_BYTES_HELD_MAX: usize = 64 * 1024 * 1024;
/// Largest REST body, apart from codec uploads.
pub const REST_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest REST body of somebody who has proven nothing yet: login names, passwords, tokens.
pub const STRANGERS_BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a form before its file: what its parser may hold while it looks for a boundary or the end of a header.
pub const FORM_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Connections to the HTTP port at a time: of users, and of devices that speak HTTP.
pub const REST_CONNECTIONS_MAX: usize = 4_096;
/// Listeners of the live trace at a time.
pub const TRACE_LISTENERS_MAX: usize = 64;
/// Live feeds at a time: WebSockets whose user is known, and streams of events.
pub const LIVE_FEEDS_MAX: usize = 512;
/// Those of one user.
pub const LIVE_FEEDS_PER_USER_MAX: usize = 64;
/// WebSockets at a time that have not said yet whose they are.
pub const LIVE_STRANGERS_MAX: usize = 64;
/// How long such a socket may take to say it, in seconds.
pub const LIVE_LOGIN_TIMEOUT_S: u64 = 10;
/// Subscriptions of one WebSocket, and devices of one stream of events.
pub const LIVE_SUBSCRIPTIONS_MAX: usize = 256;
/// Keys that a subscription may name, and keys of which it remembers what it last told.
pub const LIVE_KEYS_MAX: usize = 1_024;
/// What one WebSocket may hold of the keys of its subscriptions, in bytes. At worst, all sockets of a user hold 64 times as
/// much (64 MiB), and those of all users 512 times (512 MiB); 256 subscriptions may have some 14 usual keys each.
pub const LIVE_KEY_BYTES_MAX: usize = 1024 * 1024;
/// What a key takes each time that it is held, beside its text: its place in a tree or a map that is half full (47 and 94
/// bytes), and what an allocation adds.
pub const LIVE_KEY_BYTES: usize = 128;
/// Longest message of a client over a WebSocket, in bytes.
pub const LIVE_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Events that may wait for one live feed; past it, they are dropped and the state is told anew.
pub const LIVE_QUEUE_EVENTS_MAX: usize = 1_024;
/// Bytes of such events.
pub const LIVE_QUEUE_BYTES_MAX: usize = 256 * 1024;
/// How long a client may take to read one message of a live feed, in seconds; past it, it is disconnected.
pub const LIVE_SEND_TIMEOUT_S: u64 = 20;
/// How often a WebSocket is pinged, in seconds; one that is silent for three times as long is disconnected.
pub const LIVE_PING_S: u64 = 20;
/// Tries to log in that one address may fail in, in a minute.
pub const LOGINS_PER_MINUTE_MAX: u32 = 10;
/// Wrong passwords for one login name in a minute, from addresses that never logged in under it.
pub const WRONG_PASSWORDS_PER_MINUTE_MAX: u32 = 30;
/// Tries to claim a device that the users of one customer may fail in, in a minute.
pub const CLAIMS_PER_CUSTOMER_AND_MINUTE_MAX: u32 = 10;
/// Tries to claim one device that may fail in a minute, whoever tries.
pub const CLAIMS_PER_DEVICE_AND_MINUTE_MAX: u32 = 30;
/// Counters of each kind of tries that fail: login names, customers, devices share them by their hashes.
pub const TRY_COUNTERS: usize = 8_192;
/// Addresses from which a user logged in that are remembered.
pub const LOGIN_ADDRESSES_PER_USER_MAX: usize = 8;
/// Addresses whose tries to log in are counted at a time.
pub const LOGIN_ADDRESSES_MAX: usize = 8_192;
/// Networks that a setting lists at most.
pub const NETWORKS_MAX: usize = 256;
/// Logins whose password is being checked at a time; each needs 19 MiB and a core.
pub const LOGINS_CHECKED_MAX: usize = 2;
/// Sessions of users that logged out and are remembered until their tokens end. At more of them all sessions of the user
/// with the most end.
pub const LOGOUTS_KEPT_MAX: usize = 10_000;
/// Those of one user, whose sessions all end at more of them.
pub const LOGOUTS_PER_USER_MAX: usize = 1_000;
/// Items of one page.
pub const PAGE_ITEMS_MAX: usize = 1_000;

// The largest answer finds room, or it would wait for ever.
const _: () = assert!(HISTORY_ANSWER_BYTES_MAX <= ANSWERS_UNSENT_BYTES_MAX);
// What is under way into a session leaves room in its outbox for everything else.
const _: () = assert!(2 * RPCS_UNDER_WAY_MAX <= DEVICE_OUTBOX_MAX);
// A subscription of the largest kind fits a socket: its keys came in one message, are held as keys and as what was told of
// them, and stand in the parameters of two histories.
const _: () = assert!(2 * LIVE_KEY_BYTES * LIVE_KEYS_MAX + 4 * LIVE_MESSAGE_BYTES_MAX <= LIVE_KEY_BYTES_MAX);
const _: () = assert!(LIVE_FEEDS_PER_USER_MAX * LIVE_KEY_BYTES_MAX <= 64 * 1024 * 1024);
const _: () = assert!(LIVE_FEEDS_MAX * LIVE_KEY_BYTES_MAX <= 512 * 1024 * 1024);
const _: () = assert!(ACTIVATION_LEFT_MS_MIN < ACTIVATION_MS);
// Whoever waits for devices leaves connections to everybody else.
const _: () = assert!(RPC_WAITERS_MAX + POLLS_MAX + 1_024 <= REST_CONNECTIONS_MAX);
// Both things that a device can wait for, and the same once more by a connection that is not known to be gone.
const _: () = assert!(POLLS_PER_DEVICE_MAX >= 4 && POLLS_PER_DEVICE_MAX < POLLS_MAX);
const _: () = assert!(*POLL_MS.start() <= POLL_MS_DEFAULT && POLL_MS_DEFAULT <= *POLL_MS.end());
const _: () = assert!(PASSWORD_CHARS_MIN < PASSWORD_CHARS_MAX);
// One customer cannot use up the tries that a device has.
const _: () = assert!(2 * CLAIMS_PER_CUSTOMER_AND_MINUTE_MAX <= CLAIMS_PER_DEVICE_AND_MINUTE_MAX);
// One address cannot use up the wrong passwords that a login name has.
const _: () = assert!(2 * LOGINS_PER_MINUTE_MAX <= WRONG_PASSWORDS_PER_MINUTE_MAX);
// What gateways may make leaves room for profiles that people make.
const _: () = assert!(2 * GATEWAY_PROFILES_MAX <= PROFILES_MAX);
const _: () = assert!(API_KEYS_PER_USER_MAX <= API_KEYS_MAX);
const _: () = assert!(LOGOUTS_PER_USER_MAX < LOGOUTS_KEPT_MAX);
// A codec holds the payload, its copy, and the largest result we accept from it.
const _: () = assert!(8 * PACKET_BYTES_MAX + 8 * CODEC_RESULT_BYTES_MAX <= CODEC_MEMORY_BYTES_MAX);
// A field takes at least eight bytes of its schema, so no message has more samples than a codec's result may have.
const _: () = assert!(PROTO_SCHEMA_BYTES_MAX / 8 <= CODEC_SAMPLES_MAX);
// What a protobuf message becomes always fits the queue.
const _: () = assert!(4 * PROTO_JSON_BYTES_MAX <= COMMIT_QUEUE_BYTES_MAX);
// A codec's stack lies on its worker's.
const _: () = assert!(4 * CODEC_STACK_BYTES_MAX <= WORKER_STACK_BYTES);
// One message of the largest kind always fits the queue, or it could never be committed.
const _: () = assert!(4 * CODEC_RESULT_BYTES_MAX <= COMMIT_QUEUE_BYTES_MAX);
const _: () = assert!(4 * 1024 * (*PROFILE_RESULT_KIB.end() as usize) <= COMMIT_QUEUE_BYTES_MAX);
// A profile may widen what a codec gets, not only narrow it.
const _: () = assert!(CODEC_MEMORY_BYTES_MAX <= 1024 * 1024 * (*PROFILE_MEMORY_MIB.end() as usize));
// No pause that a profile chooses is longer than the longest one.
const _: () = assert!(*PROFILE_PAUSE_MS.end() as u64 <= CODEC_PAUSE_MS_MAX);
// A scripted component must fit the pool even when it is the only one.
const _: () = assert!(CODEC_MEMORIES_MAX <= CODEC_INSTANCES_MAX);
const _: () = assert!(CODEC_PAUSE_MS_MIN < CODEC_PAUSE_MS_MAX);
// No profile can ask for more letters than the installation keeps.
const _: () = assert!(PROFILE_DEAD_LETTERS as usize <= DEAD_LETTERS_MAX);
const _: () = assert!(PROFILE_DEAD_LETTER_BYTES as usize <= DEAD_LETTER_BYTES_MAX);
const _: () = assert!(PROFILE_DEAD_LETTER_DAYS <= PROFILE_DEAD_LETTER_DAYS_MAX);
// A restart with every codec there can be compiles none of them, also after a round of updates.
const _: () = assert!(2 * CODECS_MAX <= CODEC_CACHE_FILES_MAX);
// A canary ends before its candidate's breaker would pause devices.
const _: () = assert!(CANARY_HARD_FAILURES_MAX < CODEC_TRAPS_IN_A_ROW_MAX);
// The answer to a call fits a packet, whatever its topic.
const _: () = assert!(CLIENT_RPC_ANSWER_BYTES_MAX + 1_024 <= PACKET_BYTES_MAX);
// One webhook that hangs cannot take all places.
const _: () = assert!(2 * WEBHOOK_CALLS_PER_URL_MAX <= WEBHOOK_CALLS_MAX);
// A frame of the largest kind fits the queue of the shadow.
const _: () = assert!(2 * PACKET_BYTES_MAX < SHADOW_QUEUE_BYTES_MAX);
// The largest part fits what may be in flight, or it would never be read.
const _: () =
    assert!(OTA_CHUNK_BYTES_MAX <= OTA_WHOLE_BYTES_MAX && OTA_WHOLE_BYTES_MAX <= OTA_BYTES_IN_FLIGHT_MAX);
