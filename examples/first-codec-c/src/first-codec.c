// A soil probe's frame of six bytes, big-endian: version, temperature, moisture, battery.
//
// | offset | bytes | field       | unit                      |
// |--------|-------|-------------|---------------------------|
// | 0      | 1     | version     | always 1                  |
// | 1      | 2     | temperature | 0.1 °C, signed            |
// | 3      | 1     | moisture    | %                         |
// | 4      | 2     | battery     | mV                        |
#include "wireglot.h"

static const wg_key keys[] = {
    {"temperature", WG_DOUBLE, "Cel", "Soil temperature"},
    {"moisture", WG_LONG, "%", "Soil moisture"},
    {"battery", WG_LONG, "mV", "Battery voltage"},
};

const wg_description wg_about = {
    .name = "first-codec",
    .version = "0.1.0",
    .vendor = "Example",
    .summary = "Soil probe, frame version 1",
    .keys = keys,
    .key_count = sizeof keys / sizeof *keys,
};

bool wg_decode(const codec_uplink_t *uplink, codec_decoded_t *decoded, codec_refusal_t *refusal) {
  wg_reader frame = wg_read(uplink);
  uint8_t version = wg_u8(&frame, "version");
  if (!wg_ok(&frame, refusal)) return false;
  if (version != 1) return wg_unsupported(refusal, "offset 0: version 1 expected, %u found", version);
  int16_t temperature = wg_i16_be(&frame, "temperature");
  uint8_t moisture = wg_u8(&frame, "moisture");
  uint16_t battery = wg_u16_be(&frame, "battery");
  if (!wg_end(&frame, refusal)) return false;

  wg_samples values = {0};
  wg_decimal(&values, "temperature", temperature, 1);
  wg_long(&values, "moisture", moisture);
  wg_long(&values, "battery", battery);
  wg_telemetry(decoded, &values);
  return true;
}
