// Helpers for codecs in JavaScript: `codec` makes the functions of the contract, `Reader` cannot pass a frame's end.
//
// The component's engine is QuickJS. Numbers are doubles: a LONG beyond 2^53 is not exact.

/** The payload breaks the format: the device is at fault. */
export class Malformed extends Error {}

/** The payload may be fine, but this codec does not know its version or type. */
export class Unsupported extends Error {}

const NUMBERS = {
  u8: [1, "getUint8"], i8: [1, "getInt8"],
  u16: [2, "getUint16"], i16: [2, "getInt16"],
  u32: [4, "getUint32"], i32: [4, "getInt32"],
  f32: [4, "getFloat32"], f64: [8, "getFloat64"],
};

/** Reads a frame from front to back: u8, i8, and u16, i16, u32, i32, f32, f64 with `Be` or `Le` behind it. */
export class Reader {
  constructor(payload) {
    this.payload = payload instanceof Uint8Array ? payload : Uint8Array.from(payload);
    this.view = new DataView(this.payload.buffer, this.payload.byteOffset, this.payload.byteLength);
    this.offset = 0;
  }

  get left() {
    return this.payload.length - this.offset;
  }

  bytes(count, field) {
    const at = this.advance(count, field);
    return this.payload.subarray(at, at + count);
  }

  /** Refuses a frame with something behind what was read. */
  end() {
    if (this.left > 0) throw new Malformed(`offset ${this.offset}: ${this.left} byte(s) too many`);
  }

  advance(count, field) {
    if (this.left < count) {
      throw new Malformed(`offset ${this.offset}: ${count} byte(s) of ${field} expected, ${this.left} left`);
    }
    const at = this.offset;
    this.offset += count;
    return at;
  }
}

for (const [name, [size, getter]] of Object.entries(NUMBERS)) {
  const endings = size === 1 ? { "": false } : { Be: false, Le: true };
  for (const [ending, little] of Object.entries(endings)) {
    Reader.prototype[name + ending] = function (field) {
      return this.view[getter](this.advance(size, field), little);
    };
  }
}

/** A whole number, stored as LONG. */
export const long = (value) => ({ tag: "long", val: value });
/** A number, stored as DOUBLE. */
export const double = (value) => ({ tag: "double", val: value });
/** `raw` divided by a power of ten, without float noise: 272 and 1 make 27.2. */
export const decimal = (raw, places) => double(raw / 10 ** places);
/** Any value, stored as JSON. */
export const json = (value) => ({ tag: "json", val: JSON.stringify(value) });

function value(given) {
  switch (typeof given) {
    case "boolean": return { tag: "boolean", val: given };
    case "string": return { tag: "text", val: given };
    case "number": return Number.isInteger(given) ? long(given) : double(given);
    default: return given;
  }
}

const samples = (values) => Object.entries(values).map(([key, given]) => ({ key, value: value(given) }));

/**
 * What a frame says. Values are `long(…)`, `double(…)`, `decimal(…)`, `json(…)`, or a plain boolean, text or number;
 * a plain number is LONG where it is whole, so a measured one is better named.
 */
export class Report {
  constructor() {
    this.messages = [];
    this.warnings = [];
  }

  /** Values at `ts`, ms since 1970, or at the time of receipt. `device` names one behind the connected one. */
  telemetry(values, { ts = null, device = null } = {}) {
    this.messages.push({ device, body: { tag: "telemetry", val: [{ ts, values: samples(values) }] } });
    return this;
  }

  attributes(values, { device = null } = {}) {
    this.messages.push({ device, body: { tag: "attributes", val: samples(values) } });
    return this;
  }

  rpcResponse(id, payload, { device = null } = {}) {
    this.messages.push({ device, body: { tag: "rpc-response", val: { id, payload: JSON.stringify(payload) } } });
    return this;
  }

  warn(text) {
    this.warnings.push(text);
    return this;
  }
}

function refusal(error) {
  if (error instanceof Malformed) return { tag: "malformed", val: error.message };
  if (error instanceof Unsupported) return { tag: "unsupported", val: error.message };
  // A mistake in the script: the host keeps the frame and this text. A trap would only say that there was one.
  return { tag: "malformed", val: `the codec's own mistake: ${error}` };
}

function translated(work) {
  try {
    return work();
  } catch (error) {
    throw refusal(error);
  }
}

/**
 * The four functions of the contract. `about` holds name, version, vendor, summary and keys as `[key, type, unit, label]`
 * with the types boolean, long, double, text and json; `decode(uplink, settings)` gives a Report or throws; `encode`
 * and `settings`, which checks the profile's settings and gives what `decode` gets, may be left out.
 */
export function codec(about, { decode, encode, settings }) {
  let current = {};
  return {
    describe: () => ({
      ...about,
      keys: about.keys.map(([key, valueType, unit = null, label = null]) => ({ key, valueType, unit, label })),
      encodes: encode !== undefined,
    }),
    configure: (text) => {
      const given = JSON.parse(text);
      if (settings === undefined && Object.keys(given).length > 0) {
        throw `this codec has no setting \`${Object.keys(given)[0]}\``;
      }
      try {
        current = settings === undefined ? given : settings(given);
      } catch (error) {
        throw error.message ?? `${error}`;
      }
    },
    decode: (uplink) => translated(() => {
      const { messages, warnings } = decode(uplink, current);
      return { messages, warnings };
    }),
    encode: (downlink) => translated(() => {
      if (encode === undefined) throw new Unsupported("this codec sends nothing to devices");
      return encode(downlink, current).map(({ topic = null, payload, metadata = [] }) => ({ topic, payload, metadata }));
    }),
  };
}
