// Helpers for codecs in C: what a codec says of itself, a reader that cannot pass a frame's end, and results.
//
// A codec defines `wg_about` and `wg_decode`, and where it needs them `wg_configure` and `wg_encode`. `wireglot.c` has
// the functions of the contract around them and frees what they leave behind. Texts that are handed in are copied.
#ifndef WIREGLOT_H
#define WIREGLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"

// ---- What a codec says of itself ----

enum wg_type { WG_BOOLEAN, WG_LONG, WG_DOUBLE, WG_TEXT, WG_JSON };

typedef struct {
  const char *key;
  enum wg_type type;
  const char *unit;   // NULL: none
  const char *label;  // NULL: none
} wg_key;

typedef struct {
  const char *name;
  const char *version;
  const char *vendor;
  const char *summary;
  const wg_key *keys;
  size_t key_count;
  bool encodes;
} wg_description;

// Every codec has one.
extern const wg_description wg_about;

// ---- What a codec does ----

// Translates one frame: adds to `decoded` and returns true, or returns false after `wg_malformed` or `wg_unsupported`.
bool wg_decode(const codec_uplink_t *uplink, codec_decoded_t *decoded, codec_refusal_t *refusal);

// Takes the profile's settings, a JSON object as text. Without one of its own a codec refuses all settings.
bool wg_configure(const codec_string_t *settings, codec_string_t *refusal);

// Translates one command. Without one of its own a codec refuses all commands.
bool wg_encode(const codec_downlink_t *downlink, codec_list_outgoing_t *outgoing, codec_refusal_t *refusal);

// ---- Saying no ----

// Both return false. The format knows %s, %d (int), %u (unsigned) and %x (unsigned).
bool wg_malformed(codec_refusal_t *refusal, const char *format, ...);
bool wg_unsupported(codec_refusal_t *refusal, const char *format, ...);

// ---- Reading a frame ----

// Every read names its field. A read past the end gives 0, and `wg_ok` and `wg_end` then refuse the frame.
typedef struct {
  const uint8_t *bytes;
  size_t len;
  size_t offset;
  const char *missing;  // the field that is not there; NULL: none yet
  size_t missing_size;
} wg_reader;

wg_reader wg_read(const codec_uplink_t *uplink);
size_t wg_left(const wg_reader *reader);
const uint8_t *wg_bytes(wg_reader *reader, size_t count, const char *field);  // NULL past the end
uint8_t wg_u8(wg_reader *reader, const char *field);
int8_t wg_i8(wg_reader *reader, const char *field);
uint16_t wg_u16_be(wg_reader *reader, const char *field);
uint16_t wg_u16_le(wg_reader *reader, const char *field);
int16_t wg_i16_be(wg_reader *reader, const char *field);
int16_t wg_i16_le(wg_reader *reader, const char *field);
uint32_t wg_u24_be(wg_reader *reader, const char *field);
uint32_t wg_u24_le(wg_reader *reader, const char *field);
uint32_t wg_u32_be(wg_reader *reader, const char *field);
uint32_t wg_u32_le(wg_reader *reader, const char *field);
int32_t wg_i32_be(wg_reader *reader, const char *field);
int32_t wg_i32_le(wg_reader *reader, const char *field);

// Whether all reads so far found their bytes; if not, the frame is refused: `if (!wg_ok(…)) return false;`.
bool wg_ok(const wg_reader *reader, codec_refusal_t *refusal);
// The same, and nothing may be left.
bool wg_end(const wg_reader *reader, codec_refusal_t *refusal);

// ---- Results ----

// Named values; starts as `wg_samples samples = {0};`.
typedef wireglot_codec_types_list_sample_t wg_samples;

void wg_long(wg_samples *samples, const char *key, int64_t value);
void wg_double(wg_samples *samples, const char *key, double value);
// `raw` divided by a power of ten, without float noise: 272 and 1 make 27.2.
void wg_decimal(wg_samples *samples, const char *key, int32_t raw, unsigned places);
void wg_boolean(wg_samples *samples, const char *key, bool value);
void wg_text(wg_samples *samples, const char *key, const char *value);
void wg_json(wg_samples *samples, const char *key, const char *value);

// Each takes the samples over: they start anew for the next use.
void wg_telemetry(codec_decoded_t *decoded, wg_samples *samples);
void wg_telemetry_at(codec_decoded_t *decoded, int64_t ts_ms, wg_samples *samples);
void wg_attributes(codec_decoded_t *decoded, wg_samples *samples);
void wg_warn(codec_decoded_t *decoded, const char *text);

// Adds bytes to send; NULL stands for the profile's default topic.
void wg_send(codec_list_outgoing_t *outgoing, const char *topic, const uint8_t *payload, size_t len);

// A fact from `uplink->metadata` such as "fPort"; NULL where there is none. It is not ended by a zero.
const codec_string_t *wg_fact(const codec_uplink_t *uplink, const char *name);
bool wg_equals(const codec_string_t *text, const char *other);

#endif
