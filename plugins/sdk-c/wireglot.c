// What stands behind wireglot.h: the functions of the contract, and who frees what.
//
// The canonical ABI hands arguments over to the codec and takes results from its heap, so everything in a result lies
// in a `malloc` of its own. Memory that cannot be had ends the call: the host then makes a fresh instance.
#include "wireglot.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 256

static void *grown(void *list, size_t len, size_t item_size) {
  // Room doubles whenever the length is a power of two, so it need not be remembered.
  if ((len & (len - 1)) != 0) return list;
  void *more = realloc(list, (len == 0 ? 1 : 2 * len) * item_size);
  if (more == NULL) abort();
  return more;
}

#define APPEND(list, item)                                                       \
  do {                                                                           \
    (list)->ptr = grown((list)->ptr, (list)->len, sizeof *(list)->ptr);          \
    (list)->ptr[(list)->len++] = (item);                                         \
  } while (0)

static codec_string_t text_of(const char *text) {
  codec_string_t copy = {NULL, 0};
  if (*text != '\0') codec_string_dup(&copy, text);
  return copy;
}

static codec_option_string_t option_of(const char *text) {
  codec_option_string_t option = {.is_some = text != NULL};
  if (text != NULL) option.val = text_of(text);
  return option;
}

// ---- The contract ----

// The generated bindings ask for an object file that describes the world; `wireglot codec build` adds that itself.
void __component_type_object_force_link_codec(void) {}

void exports_codec_describe(codec_metadata_t *ret) {
  memset(ret, 0, sizeof *ret);
  ret->name = text_of(wg_about.name);
  ret->version = text_of(wg_about.version);
  ret->vendor = text_of(wg_about.vendor);
  ret->summary = text_of(wg_about.summary);
  ret->encodes = wg_about.encodes;
  for (size_t i = 0; i < wg_about.key_count; i++) {
    const wg_key *key = &wg_about.keys[i];
    wireglot_codec_types_key_description_t said = {
        text_of(key->key), (wireglot_codec_types_value_type_t)key->type, option_of(key->unit), option_of(key->label)};
    APPEND(&ret->keys, said);
  }
}

bool exports_codec_configure(codec_string_t *settings, codec_string_t *err) {
  memset(err, 0, sizeof *err);
  bool taken = wg_configure(settings, err);
  codec_string_free(settings);
  return taken;
}

bool exports_codec_decode(codec_uplink_t *uplink, codec_decoded_t *ret, codec_refusal_t *err) {
  memset(ret, 0, sizeof *ret);
  memset(err, 0, sizeof *err);
  bool done = wg_decode(uplink, ret, err);
  if (!done) codec_decoded_free(ret);
  codec_uplink_free(uplink);
  return done;
}

bool exports_codec_encode(codec_downlink_t *downlink, codec_list_outgoing_t *ret, codec_refusal_t *err) {
  memset(ret, 0, sizeof *ret);
  memset(err, 0, sizeof *err);
  bool done = wg_encode(downlink, ret, err);
  if (!done) codec_list_outgoing_free(ret);
  codec_downlink_free(downlink);
  return done;
}

__attribute__((weak)) bool wg_configure(const codec_string_t *settings, codec_string_t *refusal) {
  for (size_t i = 0; i < settings->len; i++) {
    if (strchr("{} \t\r\n", settings->ptr[i]) == NULL) {
      *refusal = text_of("this codec has no settings");
      return false;
    }
  }
  return true;
}

__attribute__((weak)) bool wg_encode(const codec_downlink_t *downlink, codec_list_outgoing_t *outgoing,
                                     codec_refusal_t *refusal) {
  (void)downlink;
  (void)outgoing;
  return wg_unsupported(refusal, "this codec sends nothing to devices");
}

// ---- Saying no ----

static size_t put_number(char *out, size_t at, unsigned value, unsigned base) {
  char digits[10];
  size_t count = 0;
  do {
    digits[count++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  while (count > 0 && at < TEXT_MAX - 1) out[at++] = digits[--count];
  return at;
}

// A `printf` would outweigh the codec.
static codec_string_t formatted(const char *format, va_list values) {
  char out[TEXT_MAX];
  size_t at = 0;
  for (; *format != '\0' && at < TEXT_MAX - 1; format++) {
    if (*format != '%') {
      out[at++] = *format;
      continue;
    }
    format++;
    if (*format == 's') {
      for (const char *s = va_arg(values, const char *); *s != '\0' && at < TEXT_MAX - 1; s++) out[at++] = *s;
    } else if (*format == 'd') {
      int value = va_arg(values, int);
      if (value < 0) out[at++] = '-';
      at = put_number(out, at, value < 0 ? 0u - (unsigned)value : (unsigned)value, 10);
    } else if (*format == 'u') {
      at = put_number(out, at, va_arg(values, unsigned), 10);
    } else if (*format == 'x') {
      at = put_number(out, at, va_arg(values, unsigned), 16);
    } else if (*format == '\0') {
      break;
    } else {
      out[at++] = *format;
    }
  }
  out[at] = '\0';
  return text_of(out);
}

bool wg_malformed(codec_refusal_t *refusal, const char *format, ...) {
  va_list values;
  va_start(values, format);
  refusal->tag = WIREGLOT_CODEC_TYPES_REFUSAL_MALFORMED;
  refusal->val.malformed = formatted(format, values);
  va_end(values);
  return false;
}

bool wg_unsupported(codec_refusal_t *refusal, const char *format, ...) {
  va_list values;
  va_start(values, format);
  refusal->tag = WIREGLOT_CODEC_TYPES_REFUSAL_UNSUPPORTED;
  refusal->val.unsupported = formatted(format, values);
  va_end(values);
  return false;
}

// ---- Reading a frame ----

wg_reader wg_read(const codec_uplink_t *uplink) {
  return (wg_reader){.bytes = uplink->payload.ptr, .len = uplink->payload.len};
}

size_t wg_left(const wg_reader *reader) { return reader->len - reader->offset; }

const uint8_t *wg_bytes(wg_reader *reader, size_t count, const char *field) {
  if (reader->missing != NULL) return NULL;
  if (wg_left(reader) < count) {
    reader->missing = field;
    reader->missing_size = count;
    return NULL;
  }
  const uint8_t *taken = reader->bytes + reader->offset;
  reader->offset += count;
  return taken;
}

static uint32_t big(wg_reader *reader, size_t count, const char *field) {
  const uint8_t *bytes = wg_bytes(reader, count, field);
  uint32_t value = 0;
  for (size_t i = 0; bytes != NULL && i < count; i++) value = value << 8 | bytes[i];
  return value;
}

static uint32_t little(wg_reader *reader, size_t count, const char *field) {
  const uint8_t *bytes = wg_bytes(reader, count, field);
  uint32_t value = 0;
  for (size_t i = count; bytes != NULL && i > 0; i--) value = value << 8 | bytes[i - 1];
  return value;
}

uint8_t wg_u8(wg_reader *reader, const char *field) { return (uint8_t)big(reader, 1, field); }
int8_t wg_i8(wg_reader *reader, const char *field) { return (int8_t)big(reader, 1, field); }
uint16_t wg_u16_be(wg_reader *reader, const char *field) { return (uint16_t)big(reader, 2, field); }
uint16_t wg_u16_le(wg_reader *reader, const char *field) { return (uint16_t)little(reader, 2, field); }
int16_t wg_i16_be(wg_reader *reader, const char *field) { return (int16_t)big(reader, 2, field); }
int16_t wg_i16_le(wg_reader *reader, const char *field) { return (int16_t)little(reader, 2, field); }
uint32_t wg_u24_be(wg_reader *reader, const char *field) { return big(reader, 3, field); }
uint32_t wg_u24_le(wg_reader *reader, const char *field) { return little(reader, 3, field); }
uint32_t wg_u32_be(wg_reader *reader, const char *field) { return big(reader, 4, field); }
uint32_t wg_u32_le(wg_reader *reader, const char *field) { return little(reader, 4, field); }
int32_t wg_i32_be(wg_reader *reader, const char *field) { return (int32_t)big(reader, 4, field); }
int32_t wg_i32_le(wg_reader *reader, const char *field) { return (int32_t)little(reader, 4, field); }

bool wg_ok(const wg_reader *reader, codec_refusal_t *refusal) {
  if (reader->missing == NULL) return true;
  return wg_malformed(refusal, "offset %u: %u byte(s) of %s expected, %u left", (unsigned)reader->offset,
                      (unsigned)reader->missing_size, reader->missing, (unsigned)wg_left(reader));
}

bool wg_end(const wg_reader *reader, codec_refusal_t *refusal) {
  if (!wg_ok(reader, refusal)) return false;
  if (wg_left(reader) == 0) return true;
  return wg_malformed(refusal, "offset %u: %u byte(s) too many", (unsigned)reader->offset, (unsigned)wg_left(reader));
}

// ---- Results ----

static wireglot_codec_types_value_t *sample(wg_samples *samples, const char *key, uint8_t tag) {
  wireglot_codec_types_sample_t fresh = {.key = text_of(key), .value = {.tag = tag}};
  APPEND(samples, fresh);
  return &samples->ptr[samples->len - 1].value;
}

void wg_long(wg_samples *samples, const char *key, int64_t value) {
  sample(samples, key, WIREGLOT_CODEC_TYPES_VALUE_LONG)->val.long_ = value;
}

void wg_double(wg_samples *samples, const char *key, double value) {
  sample(samples, key, WIREGLOT_CODEC_TYPES_VALUE_DOUBLE)->val.double_ = value;
}

void wg_decimal(wg_samples *samples, const char *key, int32_t raw, unsigned places) {
  // Both sides are exact, so the one division rounds to the double nearest to the decimal.
  double scale = 1;
  for (; places > 0; places--) scale *= 10;
  wg_double(samples, key, (double)raw / scale);
}

void wg_boolean(wg_samples *samples, const char *key, bool value) {
  sample(samples, key, WIREGLOT_CODEC_TYPES_VALUE_BOOLEAN)->val.boolean = value;
}

void wg_text(wg_samples *samples, const char *key, const char *value) {
  sample(samples, key, WIREGLOT_CODEC_TYPES_VALUE_TEXT)->val.text = text_of(value);
}

void wg_json(wg_samples *samples, const char *key, const char *value) {
  sample(samples, key, WIREGLOT_CODEC_TYPES_VALUE_JSON)->val.json = text_of(value);
}

static void telemetry(codec_decoded_t *decoded, codec_option_s64_t ts, wg_samples *samples) {
  wireglot_codec_types_addressed_message_t message = {.body = {.tag = WIREGLOT_CODEC_TYPES_MESSAGE_TELEMETRY}};
  wireglot_codec_types_measurement_t measurement = {.ts = ts, .values = *samples};
  APPEND(&message.body.val.telemetry, measurement);
  APPEND(&decoded->messages, message);
  *samples = (wg_samples){0};
}

void wg_telemetry(codec_decoded_t *decoded, wg_samples *samples) {
  telemetry(decoded, (codec_option_s64_t){.is_some = false}, samples);
}

void wg_telemetry_at(codec_decoded_t *decoded, int64_t ts_ms, wg_samples *samples) {
  telemetry(decoded, (codec_option_s64_t){.is_some = true, .val = ts_ms}, samples);
}

void wg_attributes(codec_decoded_t *decoded, wg_samples *samples) {
  wireglot_codec_types_addressed_message_t message = {
      .body = {.tag = WIREGLOT_CODEC_TYPES_MESSAGE_ATTRIBUTES, .val.attributes = *samples}};
  APPEND(&decoded->messages, message);
  *samples = (wg_samples){0};
}

void wg_warn(codec_decoded_t *decoded, const char *text) { APPEND(&decoded->warnings, text_of(text)); }

void wg_send(codec_list_outgoing_t *outgoing, const char *topic, const uint8_t *payload, size_t len) {
  codec_outgoing_t one = {.topic = option_of(topic)};
  if (len > 0) {
    one.payload.ptr = malloc(len);
    if (one.payload.ptr == NULL) abort();
    memcpy(one.payload.ptr, payload, len);
    one.payload.len = len;
  }
  APPEND(outgoing, one);
}

bool wg_equals(const codec_string_t *text, const char *other) {
  return text->len == strlen(other) && memcmp(text->ptr, other, text->len) == 0;
}

const codec_string_t *wg_fact(const codec_uplink_t *uplink, const char *name) {
  for (size_t i = 0; i < uplink->metadata.len; i++) {
    if (wg_equals(&uplink->metadata.ptr[i].f0, name)) return &uplink->metadata.ptr[i].f1;
  }
  return NULL;
}
