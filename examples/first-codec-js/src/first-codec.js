// A soil probe's frame of six bytes, big-endian: version, temperature, moisture, battery.
//
// | offset | bytes | field       | unit                      |
// |--------|-------|-------------|---------------------------|
// | 0      | 1     | version     | always 1                  |
// | 1      | 2     | temperature | 0.1 °C, signed            |
// | 3      | 1     | moisture    | %                         |
// | 4      | 2     | battery     | mV                        |
import { codec, decimal, long, Reader, Report, Unsupported } from "../sdk/wireglot.js";

const about = {
  name: "first-codec",
  version: "0.1.0",
  vendor: "Example",
  summary: "Soil probe, frame version 1",
  keys: [
    ["temperature", "double", "Cel", "Soil temperature"],
    ["moisture", "long", "%", "Soil moisture"],
    ["battery", "long", "mV", "Battery voltage"],
  ],
};

export const { describe, configure, decode, encode } = codec(about, {
  decode(uplink) {
    const frame = new Reader(uplink.payload);
    const version = frame.u8("version");
    if (version !== 1) throw new Unsupported(`offset 0: version 1 expected, ${version} found`);
    const values = {
      temperature: decimal(frame.i16Be("temperature"), 1),
      moisture: long(frame.u8("moisture")),
      battery: long(frame.u16Be("battery")),
    };
    frame.end();
    return new Report().telemetry(values);
  },
});
