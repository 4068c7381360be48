"""Helpers for codecs in Python: `Codec` is the contract, `Reader` cannot pass a frame's end, `Report` is a result.

The component's engine is CPython with its own library; a module that calls the operating system traps.
"""

import json
import struct

import wit_world
from componentize_py_types import Err
from wit_world.imports import types

TYPES = {
    "boolean": types.ValueType.BOOLEAN,
    "long": types.ValueType.LONG,
    "double": types.ValueType.DOUBLE,
    "text": types.ValueType.TEXT,
    "json": types.ValueType.JSON,
}


class Malformed(Exception):
    """The payload breaks the format: the device is at fault."""


class Unsupported(Exception):
    """The payload may be fine, but this codec does not know its version or type."""


class Reader:
    """Reads a frame from front to back; each read names its field."""

    def __init__(self, payload):
        self.payload = payload
        self.offset = 0

    @property
    def left(self):
        return len(self.payload) - self.offset

    def bytes(self, count, field):
        if self.left < count:
            raise Malformed(f"offset {self.offset}: {count} byte(s) of {field} expected, {self.left} left")
        self.offset += count
        return self.payload[self.offset - count : self.offset]

    def end(self):
        """Refuses a frame with something behind what was read."""
        if self.left:
            raise Malformed(f"offset {self.offset}: {self.left} byte(s) too many")

    def u8(self, field):
        return self.bytes(1, field)[0]

    def i8(self, field):
        return int.from_bytes(self.bytes(1, field), "big", signed=True)

    def u16_be(self, field):
        return int.from_bytes(self.bytes(2, field), "big")

    def u16_le(self, field):
        return int.from_bytes(self.bytes(2, field), "little")

    def i16_be(self, field):
        return int.from_bytes(self.bytes(2, field), "big", signed=True)

    def i16_le(self, field):
        return int.from_bytes(self.bytes(2, field), "little", signed=True)

    def u32_be(self, field):
        return int.from_bytes(self.bytes(4, field), "big")

    def u32_le(self, field):
        return int.from_bytes(self.bytes(4, field), "little")

    def i32_be(self, field):
        return int.from_bytes(self.bytes(4, field), "big", signed=True)

    def i32_le(self, field):
        return int.from_bytes(self.bytes(4, field), "little", signed=True)

    def f32_be(self, field):
        return struct.unpack(">f", self.bytes(4, field))[0]

    def f32_le(self, field):
        return struct.unpack("<f", self.bytes(4, field))[0]


def _value(given):
    if isinstance(given, bool):
        return types.Value_Boolean(given)
    if isinstance(given, int):
        return types.Value_Long(given)
    if isinstance(given, float):
        return types.Value_Double(given)
    if isinstance(given, str):
        return types.Value_Text(given)
    return types.Value_Json(json.dumps(given))


def _samples(values):
    return [types.Sample(key, _value(given)) for key, given in values.items()]


class Report:
    """What a frame says: an int becomes LONG, a float DOUBLE, a list or a dict JSON."""

    def __init__(self):
        self.messages = []
        self.warnings = []

    def _add(self, device, body):
        self.messages.append(types.AddressedMessage(device, body))
        return self

    def telemetry(self, values, ts=None, device=None):
        """Values at `ts`, ms since 1970, or at the time of receipt; of the connected device or one behind it."""
        return self._add(device, types.Message_Telemetry([types.Measurement(ts, _samples(values))]))

    def attributes(self, values, device=None):
        return self._add(device, types.Message_Attributes(_samples(values)))

    def rpc_response(self, id, payload, device=None):
        return self._add(device, types.Message_RpcResponse(types.RpcResponse(id, json.dumps(payload))))

    def warn(self, text):
        self.warnings.append(text)
        return self


def _translated(work):
    try:
        return work()
    except Malformed as refusal:
        raise Err(types.Refusal_Malformed(str(refusal)))
    except Unsupported as refusal:
        raise Err(types.Refusal_Unsupported(str(refusal)))
    except Exception as mistake:
        # The host keeps the frame and this text. A trap would only say that there was one.
        raise Err(types.Refusal_Malformed(f"the codec's own mistake: {mistake!r}"))


class Codec(wit_world.WitWorld):
    """The contract. A codec sets the facts below, and defines `decode_frame`, and where it sends `encode_command`."""

    name = ""
    version = ""
    vendor = ""
    summary = ""
    # (key, type, unit or None, label or None); the types are boolean, long, double, text and json.
    keys = []
    encodes = False

    def take_settings(self, settings):
        """Takes the profile's settings, a dict; raises ValueError for what is none."""
        if settings:
            raise ValueError(f"this codec has no setting `{next(iter(settings))}`")

    def decode_frame(self, uplink):
        """Gives a Report, or raises Malformed or Unsupported."""
        raise NotImplementedError

    def encode_command(self, downlink):
        """Gives pairs of a topic, None for the profile's default, and bytes."""
        raise Unsupported("this codec sends nothing to devices")

    def describe(self):
        keys = [types.KeyDescription(key, TYPES[kind], unit, label) for key, kind, unit, label in self.keys]
        return types.Metadata(self.name, self.version, self.vendor, self.summary, keys, self.encodes)

    def configure(self, settings):
        try:
            self.take_settings(json.loads(settings))
        except ValueError as refusal:
            raise Err(str(refusal))

    def decode(self, uplink):
        report = _translated(lambda: self.decode_frame(uplink))
        return types.Decoded(report.messages, report.warnings)

    def encode(self, downlink):
        sent = _translated(lambda: list(self.encode_command(downlink)))
        return [types.Outgoing(topic, payload, []) for topic, payload in sent]
