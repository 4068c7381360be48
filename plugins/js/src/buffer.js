// `Buffer` as scripts for ChirpStack and Node know it: bytes with an encoding on the way in and out, and numbers at an
// offset. Evaluated only for scripts that name it.
(function () {
  "use strict";

  function Buffer(value, encodingOrOffset, length) {
    return typeof value === "number" ? Buffer.alloc(value) : Buffer.from(value, encodingOrOffset, length);
  }
  Object.setPrototypeOf(Buffer, Uint8Array);
  Object.setPrototypeOf(Buffer.prototype, Uint8Array.prototype);
  // Methods of typed arrays make their results by this.
  Object.defineProperty(Buffer, Symbol.species, { get() { return Buffer; } });

  const dress = (bytes) => Object.setPrototypeOf(bytes, Buffer.prototype);
  const isBytes = (value) => value instanceof Uint8Array;
  const outOfRange = (what) => new RangeError("The value of " + what + " is out of range");

  // ---- Encodings

  function utf8Encode(text) {
    const bytes = [];
    for (const character of text) {
      const point = character.codePointAt(0);
      const code = point >= 0xd800 && point <= 0xdfff ? 0xfffd : point;
      if (code < 0x80) bytes.push(code);
      else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
      else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
      else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    }
    return bytes;
  }

  function utf8Decode(bytes) {
    let text = "";
    for (let at = 0; at < bytes.length;) {
      const first = bytes[at++];
      if (first < 0x80) {
        text += String.fromCharCode(first);
        continue;
      }
      const more = first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : 0;
      let code = more === 1 ? first & 31 : more === 2 ? first & 15 : first & 7;
      let taken = 0;
      while (taken < more && at + taken < bytes.length && (bytes[at + taken] & 0xc0) === 0x80) {
        code = (code << 6) | (bytes[at + taken] & 63);
        taken += 1;
      }
      const least = [0, 0x80, 0x800, 0x10000][more];
      const good = more > 0 && taken === more && code >= least && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
      text += good ? String.fromCodePoint(code) : "\ufffd";
      at += taken;
    }
    return text;
  }

  function hexDecode(text) {
    const bytes = [];
    for (let at = 0; at + 1 < text.length; at += 2) {
      const pair = text.slice(at, at + 2);
      if (!/^[0-9a-fA-F]{2}$/.test(pair)) break;
      bytes.push(parseInt(pair, 16));
    }
    return bytes;
  }

  function hexEncode(bytes) {
    let text = "";
    for (let at = 0; at < bytes.length; at++) text += (bytes[at] < 16 ? "0" : "") + bytes[at].toString(16);
    return text;
  }

  const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

  function base64Decode(text) {
    const bytes = [];
    let bits = 0;
    let count = 0;
    for (const character of text) {
      if (character === "=") break;
      const digit = DIGITS.indexOf(character === "-" ? "+" : character === "_" ? "/" : character);
      if (digit < 0) continue;
      bits = ((bits << 6) | digit) & 0xffffff;
      count += 6;
      if (count >= 8) {
        count -= 8;
        bytes.push((bits >> count) & 255);
      }
    }
    return bytes;
  }

  function base64Encode(bytes, url) {
    let text = "";
    for (let at = 0; at < bytes.length; at += 3) {
      const left = bytes.length - at;
      const bits = (bytes[at] << 16) | ((left > 1 ? bytes[at + 1] : 0) << 8) | (left > 2 ? bytes[at + 2] : 0);
      text += DIGITS[bits >> 18] + DIGITS[(bits >> 12) & 63];
      text += left > 1 ? DIGITS[(bits >> 6) & 63] : url ? "" : "=";
      text += left > 2 ? DIGITS[bits & 63] : url ? "" : "=";
    }
    return url ? text.replace(/\+/g, "-").replace(/\//g, "_") : text;
  }

  function codes(bytes, mask) {
    let text = "";
    for (let at = 0; at < bytes.length; at++) text += String.fromCharCode(bytes[at] & mask);
    return text;
  }

  function ucs2Encode(text) {
    const bytes = [];
    for (let at = 0; at < text.length; at++) bytes.push(text.charCodeAt(at) & 255, text.charCodeAt(at) >> 8);
    return bytes;
  }

  function ucs2Decode(bytes) {
    let text = "";
    for (let at = 0; at + 1 < bytes.length; at += 2) text += String.fromCharCode(bytes[at] | (bytes[at + 1] << 8));
    return text;
  }

  const latin1Encode = (text) => Array.from({ length: text.length }, (_, at) => text.charCodeAt(at) & 255);
  const ENCODINGS = {
    utf8: [utf8Encode, utf8Decode],
    hex: [hexDecode, hexEncode],
    base64: [base64Decode, (bytes) => base64Encode(bytes, false)],
    base64url: [base64Decode, (bytes) => base64Encode(bytes, true)],
    latin1: [latin1Encode, (bytes) => codes(bytes, 255)],
    ascii: [latin1Encode, (bytes) => codes(bytes, 127)],
    ucs2: [ucs2Encode, ucs2Decode],
  };
  const ALIASES = { "utf-8": "utf8", binary: "latin1", "ucs-2": "ucs2", utf16le: "ucs2", "utf-16le": "ucs2" };

  function canonical(encoding) {
    const name = String(encoding === undefined || encoding === null ? "utf8" : encoding).toLowerCase();
    const known = Object.hasOwn(ALIASES, name) ? ALIASES[name] : name;
    return Object.hasOwn(ENCODINGS, known) ? known : undefined;
  }

  function coding(encoding) {
    const known = canonical(encoding);
    if (known === undefined) throw new TypeError("Unknown encoding: " + encoding);
    return ENCODINGS[known];
  }

  // ---- Making one

  Buffer.from = function (value, encodingOrOffset, length) {
    if (typeof value === "string") return dress(Uint8Array.from(coding(encodingOrOffset)[0](value)));
    if (value instanceof ArrayBuffer) return dress(new Uint8Array(value, encodingOrOffset, length));
    if (value !== null && typeof value === "object") {
      if (value.type === "Buffer" && Array.isArray(value.data)) return dress(Uint8Array.from(value.data));
      if (typeof value.length === "number") return dress(Uint8Array.from(value, (byte) => byte & 255));
      const simple = value.valueOf();
      if (simple !== value && simple !== null) return Buffer.from(simple, encodingOrOffset, length);
    }
    throw new TypeError("Buffer.from takes a string, an array, an ArrayBuffer or another Buffer");
  };
  Buffer.of = (...bytes) => Buffer.from(bytes);
  Buffer.alloc = function (length, value, encoding) {
    if (typeof length !== "number" || !(length >= 0)) throw outOfRange("\"size\"");
    const made = dress(new Uint8Array(length));
    return value === undefined ? made : made.fill(value, 0, length, encoding);
  };
  Buffer.allocUnsafe = Buffer.allocUnsafeSlow = (length) => Buffer.alloc(length);
  Buffer.isBuffer = (value) => value instanceof Buffer;
  Buffer.isEncoding = (encoding) => typeof encoding === "string" && canonical(encoding) !== undefined;
  Buffer.byteLength = (value, encoding) =>
    typeof value === "string" ? coding(encoding)[0](value).length : value.byteLength;
  Buffer.concat = function (list, length) {
    const wanted = length === undefined ? list.reduce((sum, item) => sum + item.length, 0) : length;
    const whole = Buffer.alloc(wanted);
    let at = 0;
    for (const item of list) {
      if (at >= wanted) break;
      whole.set(item.length > wanted - at ? Uint8Array.prototype.subarray.call(item, 0, wanted - at) : item, at);
      at += item.length;
    }
    return whole;
  };
  Buffer.compare = function (a, b) {
    for (let at = 0; at < Math.min(a.length, b.length); at++) {
      if (a[at] !== b[at]) return a[at] < b[at] ? -1 : 1;
    }
    return Math.sign(a.length - b.length);
  };
  Buffer.poolSize = 8192;

  // ---- Methods

  const methods = {
    toString(encoding, start, end) {
      return coding(encoding)[1](Uint8Array.prototype.subarray.call(this, start === undefined ? 0 : start, end));
    },
    toLocaleString(encoding, start, end) {
      return this.toString(encoding, start, end);
    },
    toJSON() {
      return { type: "Buffer", data: Array.from(this) };
    },
    equals(other) {
      return Buffer.compare(this, other) === 0;
    },
    compare(other) {
      return Buffer.compare(this, other);
    },
    // In Node a slice shares the memory, unlike that of a typed array.
    slice(start, end) {
      return this.subarray(start, end);
    },
    subarray(start, end) {
      return dress(Uint8Array.prototype.subarray.call(new Uint8Array(this.buffer, this.byteOffset, this.length), start, end));
    },
    write(text, offset, length, encoding) {
      if (typeof offset === "string") [encoding, offset, length] = [offset, 0, undefined];
      else if (typeof length === "string") [encoding, length] = [length, undefined];
      const start = offset === undefined ? 0 : offset;
      const room = Math.min(length === undefined ? Infinity : length, this.length - start);
      const bytes = coding(encoding)[0](String(text)).slice(0, Math.max(room, 0));
      this.set(bytes, start);
      return bytes.length;
    },
    fill(value, start, end, encoding) {
      if (typeof start === "string") [encoding, start] = [start, undefined];
      const bytes = typeof value === "string" ? coding(encoding)[0](value) : isBytes(value) ? value : [value & 255];
      const from = start === undefined ? 0 : start;
      const to = end === undefined ? this.length : Math.min(end, this.length);
      for (let at = from; at < to; at++) this[at] = bytes.length === 0 ? 0 : bytes[(at - from) % bytes.length];
      return this;
    },
    copy(target, targetStart, start, end) {
      const from = start === undefined ? 0 : start;
      const to = targetStart === undefined ? 0 : targetStart;
      const part = Uint8Array.prototype.subarray.call(this, from, end).subarray(0, Math.max(target.length - to, 0));
      target.set(part, to);
      return part.length;
    },
    indexOf(value, start, encoding) {
      if (typeof start === "string") [encoding, start] = [start, 0];
      const wanted = typeof value === "number" ? [value & 255] : typeof value === "string" ? coding(encoding)[0](value) : value;
      for (let at = Math.max(start === undefined ? 0 : start, 0); at + wanted.length <= this.length; at++) {
        let same = 0;
        while (same < wanted.length && this[at + same] === wanted[same]) same += 1;
        if (same === wanted.length) return at;
      }
      return -1;
    },
    includes(value, start, encoding) {
      return this.indexOf(value, start, encoding) !== -1;
    },
  };
  for (const bytes of [2, 4, 8]) {
    methods["swap" + 8 * bytes] = function () {
      if (this.length % bytes !== 0) throw new RangeError("Buffer size must be a multiple of " + 8 * bytes + "-bits");
      for (let at = 0; at < this.length; at += bytes) Uint8Array.prototype.subarray.call(this, at, at + bytes).reverse();
      return this;
    };
  }

  // ---- Numbers at an offset

  function place(buffer, offset, bytes) {
    const at = offset === undefined ? 0 : offset;
    if (typeof at !== "number") throw new TypeError("The \"offset\" argument must be of type number");
    if (!Number.isInteger(at) || at < 0 || at + bytes > buffer.length) {
      throw outOfRange("\"offset\". It must be >= 0 and <= " + (buffer.length - bytes) + ". Received " + at);
    }
    return at;
  }

  const view = (buffer) => new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);

  function fixed(names, kind, bytes) {
    for (const little of bytes === 1 ? [undefined] : [true, false]) {
      const ending = little === undefined ? "" : little ? "LE" : "BE";
      const read = function (offset) {
        return view(this)["get" + kind](place(this, offset, bytes), little);
      };
      const write = function (value, offset) {
        const at = place(this, offset, bytes);
        view(this)["set" + kind](at, value, little);
        return at + bytes;
      };
      for (const name of names) {
        methods["read" + name + ending] = read;
        methods["write" + name + ending] = write;
      }
    }
  }
  fixed(["Int8"], "Int8", 1);
  fixed(["UInt8", "Uint8"], "Uint8", 1);
  fixed(["Int16"], "Int16", 2);
  fixed(["UInt16", "Uint16"], "Uint16", 2);
  fixed(["Int32"], "Int32", 4);
  fixed(["UInt32", "Uint32"], "Uint32", 4);
  fixed(["BigInt64"], "BigInt64", 8);
  fixed(["BigUInt64", "BigUint64"], "BigUint64", 8);
  fixed(["Float"], "Float32", 4);
  fixed(["Double"], "Float64", 8);

  // Integers of one to six bytes.
  function width(bytes) {
    if (!Number.isInteger(bytes) || bytes < 1 || bytes > 6) throw outOfRange("\"byteLength\". It must be >= 1 and <= 6");
    return bytes;
  }
  for (const little of [true, false]) {
    const ending = little ? "LE" : "BE";
    const readUInt = function (offset, byteLength) {
      const bytes = width(byteLength);
      const at = place(this, offset, bytes);
      let value = 0;
      for (let step = 0; step < bytes; step++) value = value * 256 + this[little ? at + bytes - 1 - step : at + step];
      return value;
    };
    const readInt = function (offset, byteLength) {
      const value = readUInt.call(this, offset, byteLength);
      const half = Math.pow(2, 8 * byteLength - 1);
      return value >= half ? value - 2 * half : value;
    };
    const write = function (value, offset, byteLength) {
      const bytes = width(byteLength);
      const at = place(this, offset, bytes);
      let left = value < 0 ? value + Math.pow(2, 8 * bytes) : value;
      for (let step = 0; step < bytes; step++) {
        this[little ? at + step : at + bytes - 1 - step] = left % 256;
        left = Math.floor(left / 256);
      }
      return at + bytes;
    };
    for (const sign of ["UInt", "Uint"]) {
      methods["read" + sign + ending] = readUInt;
      methods["write" + sign + ending] = write;
    }
    methods["readInt" + ending] = readInt;
    methods["writeInt" + ending] = write;
  }

  for (const name of Object.keys(methods)) {
    Object.defineProperty(Buffer.prototype, name, { value: methods[name], writable: true, configurable: true });
  }
  Object.defineProperty(Buffer.prototype, "parent", { get() { return this.buffer; }, configurable: true });
  Object.defineProperty(globalThis, "Buffer", { value: Buffer, writable: true, configurable: true });
})();
