"""A soil probe's frame of six bytes, big-endian: version, temperature, moisture, battery.

| offset | bytes | field       | unit                      |
|--------|-------|-------------|---------------------------|
| 0      | 1     | version     | always 1                  |
| 1      | 2     | temperature | 0.1 °C, signed            |
| 3      | 1     | moisture    | %                         |
| 4      | 2     | battery     | mV                        |
"""

from wireglot import Codec, Reader, Report, Unsupported


class WitWorld(Codec):
    name = "first-codec"
    version = "0.1.0"
    vendor = "Example"
    summary = "Soil probe, frame version 1"
    keys = [
        ("temperature", "double", "Cel", "Soil temperature"),
        ("moisture", "long", "%", "Soil moisture"),
        ("battery", "long", "mV", "Battery voltage"),
    ]

    def decode_frame(self, uplink):
        frame = Reader(uplink.payload)
        version = frame.u8("version")
        if version != 1:
            raise Unsupported(f"offset 0: version 1 expected, {version} found")
        values = {
            "temperature": frame.i16_be("temperature") / 10,
            "moisture": frame.u8("moisture"),
            "battery": frame.u16_be("battery"),
        }
        frame.end()
        return Report().telemetry(values)
