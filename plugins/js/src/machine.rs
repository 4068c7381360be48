//! One script in one QuickJS context: compiled once, and run anew for every message.
//!
//! Compiled is a function around the script's text. Calling it runs the script's top level and gives the functions
//! that it declares, so whatever the script declares is fresh for every message. Globals that it makes without
//! declaring them are removed after each message. What is left over from message to message is only what a script
//! changes in the built-in objects themselves; nothing here goes through those.

use std::ffi::CString;

use rquickjs::context::EvalOptions;
use rquickjs::{qjs, Array, Atom, Context, Ctx, Error, Filter, Function, Object, Persistent, Runtime, Value};
use wireglot_sdk::{malformed, Refusal};

use crate::options::{Direction, Options};
use crate::{ambient, failure};

/// Of the script's own stack; what is deeper gets a RangeError of its own, well before the host's limit.
const STACK_BYTES_MAX: usize = 192 * 1024;

/// Console and the like: what a script may call without harm.
const PRELUDE: &str = include_str!("prelude.js");
/// `Buffer`, for scripts that name it.
const BUFFER: &str = include_str!("buffer.js");

/// A function that a script may declare, in the order in which the compiled script gives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Entry {
    DecodeUplink,
    DecodeDownlink,
    NormalizeUplink,
    EncodeDownlink,
    /// ChirpStack v3.
    Decode,
    Encode,
    /// The Things Network v2.
    Decoder,
    Encoder,
}

impl Entry {
    const ALL: [Self; 8] = [
        Self::DecodeUplink,
        Self::DecodeDownlink,
        Self::NormalizeUplink,
        Self::EncodeDownlink,
        Self::Decode,
        Self::Encode,
        Self::Decoder,
        Self::Encoder,
    ];

    /// As the script spells it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DecodeUplink => "decodeUplink",
            Self::DecodeDownlink => "decodeDownlink",
            Self::NormalizeUplink => "normalizeUplink",
            Self::EncodeDownlink => "encodeDownlink",
            Self::Decode => "Decode",
            Self::Encode => "Encode",
            Self::Decoder => "Decoder",
            Self::Encoder => "Encoder",
        }
    }

    /// Those that can read the frames of this profile, best first.
    fn decoders(direction: Direction) -> &'static [Self] {
        match direction {
            Direction::Up => &[Self::DecodeUplink, Self::Decode, Self::Decoder],
            Direction::Down => &[Self::DecodeDownlink],
        }
    }
}

/// A compiled script.
pub(crate) struct Machine {
    load: Persistent<Function<'static>>,
    date_parse: Persistent<Function<'static>>,
    context: Context,
    /// The names of the global object before the script ran.
    globals: Vec<String>,
    file: String,
    /// It is given `module` and `exports`.
    is_module: bool,
}

// The host calls an instance from its one thread.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "the target has one thread")]
// SAFETY: as above; there is no second thread to share it with or to send it to.
unsafe impl Sync for Machine {}
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "the target has one thread")]
// SAFETY: as above.
unsafe impl Send for Machine {}

impl Machine {
    /// Compiles the script, and runs it once to see what it declares.
    pub(crate) fn compile(options: &Options, script: &str) -> Result<Self, String> {
        ambient::begin(0);
        let broken = |error: Error| format!("QuickJS cannot be started: {error}");
        let runtime = Runtime::new().map_err(broken)?;
        runtime.set_max_stack_size(STACK_BYTES_MAX);
        let context = Context::full(&runtime).map_err(broken)?;
        let is_module = script.contains("exports");
        let (load, date_parse, globals) = context.with(|ctx| {
            let told = |error: Error| failure::words(&ctx, &error, &options.file);
            furnish(&ctx, script).map_err(told)?;
            let date: Object = ctx.globals().get("Date").map_err(told)?;
            let date_parse: Function = date.get("parse").map_err(told)?;
            let globals = global_names(&ctx);
            check_syntax(&ctx, &options.file, script).map_err(told)?;
            let load: Function = ctx
                .eval_with_options(wrapped(script, is_module), file_options(&options.file))
                .map_err(told)?;
            let saved = (Persistent::save(&ctx, load), Persistent::save(&ctx, date_parse), globals);
            Ok::<_, String>(saved)
        })?;
        let machine = Self { load, date_parse, context, globals, file: options.file.clone(), is_module };
        machine.find_decoder(options.direction)?;
        Ok(machine)
    }

    fn find_decoder(&self, direction: Direction) -> Result<(), String> {
        let decoders = Entry::decoders(direction);
        let found = self
            .run(0, |call| Ok(decoders.iter().any(|&entry| call.function(entry).is_some())))
            .map_err(|refusal| match refusal {
                Refusal::Malformed(words) | Refusal::Unsupported(words) => words,
            })?;
        if found {
            return Ok(());
        }
        let names: Vec<&str> = decoders.iter().map(|entry| entry.name()).collect();
        Err(format!("{}: no function {}; one of these decodes", self.file, names.join(", ")))
    }

    /// Runs the script for one message, and `work` with the functions it declares.
    pub(crate) fn run<R>(
        &self,
        now_ms: i64,
        work: impl FnOnce(&Call<'_, '_>) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        ambient::begin(now_ms);
        self.context.with(|ctx| {
            let loaded = self.load(&ctx).map_err(|error| malformed(failure::words(&ctx, &error, &self.file)));
            let result = loaded.and_then(|(declared, exports)| {
                let call = Call { machine: self, ctx: ctx.clone(), declared, exports };
                work(&call)
            });
            self.clear_up(&ctx);
            result
        })
    }

    /// Runs the script's top level; gives what it declares and what it exports.
    fn load<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<(Array<'js>, Option<Object<'js>>)> {
        let load = self.load.clone().restore(ctx)?;
        if !self.is_module {
            return Ok((load.call(())?, None));
        }
        let (module, exports) = (Object::new(ctx.clone())?, Object::new(ctx.clone())?);
        module.set("exports", exports.clone())?;
        let script: Function = load.call((module.clone(), exports))?;
        let declared = script.call(())?;
        let exports: Value = module.get("exports")?;
        Ok((declared, exports.into_object()))
    }

    /// Nothing of this message's may meet the next: jobs run to their end, and new globals go.
    fn clear_up(&self, ctx: &Ctx<'_>) {
        while ctx.execute_pending_job() {}
        drop(ctx.catch());
        let globals = ctx.globals();
        if globals.own_keys::<Atom>(Filter::new().string()).count() == self.globals.len() {
            return;
        }
        let names = global_names(ctx);
        for name in names.iter().filter(|name| !self.globals.contains(name)) {
            if globals.remove(name.as_str()).is_err() {
                drop(ctx.catch());
            }
        }
    }
}

/// One message of one script.
pub(crate) struct Call<'a, 'js> {
    machine: &'a Machine,
    pub(crate) ctx: Ctx<'js>,
    declared: Array<'js>,
    exports: Option<Object<'js>>,
}

impl<'js> Call<'_, 'js> {
    /// The function, if the script declares or exports it.
    pub(crate) fn function(&self, entry: Entry) -> Option<Function<'js>> {
        let declared = self.declared.get::<Value>(entry as usize).ok().and_then(Value::into_function);
        declared.or_else(|| match self.exports.as_ref()?.get::<_, Value>(entry.name()) {
            Ok(exported) => exported.into_function(),
            Err(_) => {
                drop(self.ctx.catch());
                None
            }
        })
    }

    /// The first of the functions that can read a frame.
    pub(crate) fn decoder(&self, direction: Direction) -> Option<(Entry, Function<'js>)> {
        Entry::decoders(direction).iter().find_map(|&entry| Some((entry, self.function(entry)?)))
    }

    /// A refusal in the script's words.
    pub(crate) fn refused(&self, error: &Error) -> Refusal {
        malformed(failure::words(&self.ctx, error, &self.machine.file))
    }

    /// What an async function promises, or the value itself.
    pub(crate) fn settled(&self, value: Value<'js>, entry: Entry) -> Result<Value<'js>, Refusal> {
        match value.as_promise() {
            None => Ok(value),
            Some(promise) => promise.finish::<Value>().map_err(|error| match error {
                Error::WouldBlock => {
                    malformed(format!("{} gave a promise that nothing will ever keep", entry.name()))
                }
                error => self.refused(&error),
            }),
        }
    }

    /// Milliseconds since 1970 of a date's text.
    pub(crate) fn parse_date(&self, text: &str) -> Option<i64> {
        let parse = self.machine.date_parse.clone().restore(&self.ctx).ok()?;
        let ms: f64 = parse.call((text,)).ok()?;
        ms.is_finite().then_some(ms as i64)
    }
}

/// Gives the context what every script may count on.
fn furnish(ctx: &Ctx<'_>, script: &str) -> rquickjs::Result<()> {
    ambient::install(ctx)?;
    ctx.eval_with_options::<(), _>(PRELUDE, file_options("prelude"))?;
    if script.contains("Buffer") {
        ctx.eval_with_options::<(), _>(BUFFER, file_options("buffer"))?;
    }
    Ok(())
}

fn file_options(file: &str) -> EvalOptions {
    let mut options = EvalOptions::default();
    // Vendors' scripts are as old as the web.
    options.strict = false;
    options.filename = Some(file.to_owned());
    options
}

/// The script in a function that gives what it declares. It begins on the script's first line: lines stay as they are.
///
/// One that speaks of exports is written for Node as well: it gets a module, from outside of its own function, so that
/// it may declare `module` and `exports` itself.
fn wrapped(script: &str, is_module: bool) -> String {
    let declared = Entry::ALL.map(|entry| format!("typeof {0}===\"function\"?{0}:0", entry.name())).join(",");
    let function = format!("function(){{{script}\n;return[{declared}]}}");
    if is_module {
        format!("(function(module,exports){{return {function}}})")
    } else {
        format!("({function})")
    }
}

/// Compiles the script by itself: inside the function, a stray brace would be told in words about that function.
fn check_syntax(ctx: &Ctx<'_>, file: &str, script: &str) -> rquickjs::Result<()> {
    let source = CString::new(script)?;
    let file = CString::new(file)?;
    let flags = qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_COMPILE_ONLY;
    // SAFETY: both texts end in NUL and outlive the call, which copies what it keeps; what it gives is owned by us
    // and freed by the same context.
    #[allow(unsafe_code, reason = "the safe interface cannot compile without running")]
    unsafe {
        let raw = ctx.as_raw().as_ptr();
        let compiled =
            qjs::JS_Eval(raw, source.as_ptr(), script.len() as _, file.as_ptr(), flags as core::ffi::c_int);
        let failed = qjs::JS_IsException(compiled);
        qjs::JS_FreeValue(raw, compiled);
        if failed {
            Err(Error::Exception)
        } else {
            Ok(())
        }
    }
}

fn global_names(ctx: &Ctx<'_>) -> Vec<String> {
    let names = ctx.globals().own_keys::<Atom>(Filter::new().string());
    names.filter_map(|name| name.ok()?.to_string().ok()).collect()
}
