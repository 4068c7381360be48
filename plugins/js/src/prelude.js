(function () {
  "use strict";
  const nothing = function () {};
  const console = {};
  for (const name of ["assert", "debug", "dir", "error", "group", "groupEnd", "info", "log", "table", "time", "timeEnd",
    "trace", "warn"]) {
    console[name] = nothing;
  }
  Object.defineProperty(globalThis, "console", { value: console, writable: true, configurable: true });
  delete globalThis.performance;
})();
