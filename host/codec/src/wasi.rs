//! A host for components that import WASI and nothing else: it denies everything.
//!
//! Some toolchains cannot make a component without WASI. It guards **codec_sees_only_input**: every clock shows the
//! time at which the message was received, random numbers begin anew with every call and are always the same, there
//! are no files, arguments, variables or addresses, and what is printed is dropped. Whatever else is called is refused
//! by its type: an error where there can be one, nothing where there can be nothing, and a trap elsewhere.
//!
//! The interfaces are taken from the component, so any release of WASI 0.2 is answered.

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceType, Val};
use wasmtime::{Engine, StoreContextMut};
use wireglot_model::limits::CODEC_RANDOM_BYTES_MAX;

use crate::engine::GuestState;
use crate::error::LoadError;

/// What the names of all its interfaces begin with.
pub(crate) const PREFIX: &str = "wasi:";
/// What a stream of output takes at once; it goes nowhere.
const WRITE_BYTES: u64 = 64 * 1024;
const CLOCK_RESOLUTION_NS: u64 = 1_000_000;

/// Everything that can be held of this host: a stream, a clock's alarm. None has any state.
struct Nothing;

/// What random numbers and clocks are made of. Part of every instance; begins anew with every call.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Surroundings {
    /// When the message was received, in milliseconds since 1970.
    now_ms: u64,
    drawn: u64,
}

impl Surroundings {
    pub(crate) fn at(now_ms: i64) -> Self {
        // WASI knows no time before 1970.
        Self { now_ms: u64::try_from(now_ms).unwrap_or_default(), drawn: 0 }
    }

    /// The next number of a fixed sequence (SplitMix64).
    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.drawn;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn draw_bytes(&mut self, count: usize) -> Vec<Val> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            bytes.extend(self.draw().to_le_bytes().map(Val::U8));
        }
        bytes.truncate(count);
        bytes
    }
}

/// A call that no answer fits.
#[derive(Debug, thiserror::Error)]
#[error("the codec calls {0}, and a codec has nothing of the outside world")]
pub(crate) struct Denied(String);

/// Answers for all that the component imports.
pub(crate) fn define(
    engine: &Engine,
    component: &Component,
    linker: &mut Linker<GuestState>,
) -> Result<(), LoadError> {
    let failed = |error: wasmtime::Error| LoadError::Contract(crate::error::bounded(format!("{error:#}")));
    for (name, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = import.ty else { continue };
        if !name.starts_with(PREFIX) {
            continue;
        }
        let mut host = linker.instance(name).map_err(failed)?;
        let plain = name.split_once('@').map_or(name, |(plain, _)| plain);
        for (item, export) in interface.exports(engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) => answer(&mut host, plain, item).map_err(failed)?,
                ComponentItem::Resource(_) => {
                    host.resource(item, ResourceType::host::<Nothing>(), |_, _| Ok(())).map_err(failed)?
                }
                ComponentItem::Type(_)
                | ComponentItem::CoreFunc(_)
                | ComponentItem::Module(_)
                | ComponentItem::Component(_)
                | ComponentItem::ComponentInstance(_) => {}
            }
        }
    }
    Ok(())
}

fn answer(
    host: &mut LinkerInstance<'_, GuestState>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<()> {
    let name = format!("{interface}#{function}");
    host.func_new(function, move |mut store, ty, arguments, results| {
        arguments.iter().try_for_each(|argument| let_go(&mut store, argument))?;
        let Some(result) = results.first_mut() else {
            // Nothing to give back: waiting ends at once, ending is not for a codec.
            return if name == "wasi:cli/exit#exit" { Err(Denied(name.clone()).into()) } else { Ok(()) };
        };
        let known = known(&name, &mut store, arguments)?;
        *result = match known {
            Some(value) => value,
            None => denied(&mut store, &ty)?.ok_or_else(|| Denied(name.clone()))?,
        };
        Ok(())
    })
}

/// What is lent or given must be given back before the call ends.
fn let_go(store: &mut StoreContextMut<'_, GuestState>, argument: &Val) -> wasmtime::Result<()> {
    match argument {
        Val::Resource(resource) => resource.resource_drop(store),
        Val::List(all) | Val::Tuple(all) => all.iter().try_for_each(|one| let_go(store, one)),
        Val::Option(Some(one)) => let_go(store, one),
        _ => Ok(()),
    }
}

/// The answers that a type alone does not tell.
fn known(
    name: &str,
    store: &mut StoreContextMut<'_, GuestState>,
    arguments: &[Val],
) -> wasmtime::Result<Option<Val>> {
    let around = &mut store.data_mut().surroundings;
    Ok(Some(match name {
        "wasi:clocks/wall-clock#now" => instant(around.now_ms / 1_000, around.now_ms % 1_000 * 1_000_000),
        "wasi:clocks/wall-clock#resolution" => instant(0, CLOCK_RESOLUTION_NS),
        "wasi:clocks/monotonic-clock#now" => Val::U64(around.now_ms.saturating_mul(1_000_000)),
        "wasi:clocks/monotonic-clock#resolution" => Val::U64(CLOCK_RESOLUTION_NS),
        "wasi:random/random#get-random-bytes" | "wasi:random/insecure#get-insecure-random-bytes" => {
            let wanted = match arguments {
                [Val::U64(wanted)] => usize::try_from(*wanted).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            if wanted > CODEC_RANDOM_BYTES_MAX {
                return Err(Denied(format!("{name} for more than {CODEC_RANDOM_BYTES_MAX} bytes")).into());
            }
            Val::List(around.draw_bytes(wanted))
        }
        "wasi:random/random#get-random-u64" | "wasi:random/insecure#get-insecure-random-u64" => {
            Val::U64(around.draw())
        }
        "wasi:random/insecure-seed#insecure-seed" => {
            Val::Tuple(vec![Val::U64(around.draw()), Val::U64(around.draw())])
        }
        "wasi:io/poll#poll" => Val::List(match arguments {
            [Val::List(all)] => (0..).zip(all).map(|(index, _)| Val::U32(index)).collect(),
            _ => Vec::new(),
        }),
        "wasi:io/poll#[method]pollable.ready" => Val::Bool(true),
        "wasi:io/streams#[method]output-stream.check-write" => {
            Val::Result(Ok(Some(Box::new(Val::U64(WRITE_BYTES)))))
        }
        "wasi:io/streams#[method]output-stream.write"
        | "wasi:io/streams#[method]output-stream.blocking-write-and-flush"
        | "wasi:io/streams#[method]output-stream.write-zeroes"
        | "wasi:io/streams#[method]output-stream.blocking-write-zeroes-and-flush"
        | "wasi:io/streams#[method]output-stream.flush"
        | "wasi:io/streams#[method]output-stream.blocking-flush" => Val::Result(Ok(None)),
        _ => return Ok(None),
    }))
}

fn instant(seconds: u64, nanoseconds: u64) -> Val {
    // Both callers stay below a second.
    let nanoseconds = Val::U32(u32::try_from(nanoseconds).unwrap_or_default());
    Val::Record(vec![("seconds".to_owned(), Val::U64(seconds)), ("nanoseconds".to_owned(), nanoseconds)])
}

/// No, in the words of the function's type; `None` where it has no word for it.
fn denied(store: &mut StoreContextMut<'_, GuestState>, ty: &ComponentFunc) -> wasmtime::Result<Option<Val>> {
    Ok(match ty.results().next() {
        Some(Type::Result(result)) => match result.err() {
            None => Some(Val::Result(Err(None))),
            Some(error) => refusal(&error).map(|error| Val::Result(Err(Some(Box::new(error))))),
        },
        Some(Type::List(_)) => Some(Val::List(Vec::new())),
        Some(Type::Option(_)) => Some(Val::Option(None)),
        Some(Type::Own(_)) => {
            Some(Val::Resource(Resource::<Nothing>::new_own(0).try_into_resource_any(&mut *store)?))
        }
        _ => None,
    })
}

fn refusal(error: &Type) -> Option<Val> {
    match error {
        Type::Enum(cases) => {
            let fits = |name: &&str| ["access", "access-denied", "not-supported"].contains(name);
            let case = cases.names().find(fits).or_else(|| cases.names().next())?;
            Some(Val::Enum(case.to_owned()))
        }
        Type::Variant(cases) => {
            let bare = || cases.cases().filter(|case| case.ty.is_none());
            let case = bare().find(|case| case.name == "closed").or_else(|| bare().next())?;
            Some(Val::Variant(case.name.to_owned(), None))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_the_same_with_every_call() {
        let (mut one, mut other) = (Surroundings::at(5), Surroundings::at(7));
        assert_eq!([one.draw(), one.draw()], [other.draw(), other.draw()]);
        assert_ne!(one.draw(), one.draw());
        assert_eq!(Surroundings::at(0).draw_bytes(13).len(), 13);
    }

    #[test]
    fn a_time_before_1970_is_1970() {
        assert_eq!(Surroundings::at(-5), Surroundings::at(0));
    }
}
