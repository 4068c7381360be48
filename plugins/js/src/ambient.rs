//! What a script cannot see for itself: the time is the message's, and chance is the same for every message.

use std::cell::Cell;

use rquickjs::{Ctx, Function, Object};

/// Any odd number will do; that it is fixed is the point: a replayed frame gives what it gave at first.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

thread_local! {
    static NOW_MS: Cell<i64> = const { Cell::new(0) };
    static CHANCE: Cell<u64> = const { Cell::new(SEED) };
}

/// Begins a message.
pub(crate) fn begin(now_ms: i64) {
    NOW_MS.set(now_ms);
    CHANCE.set(SEED);
}

/// Puts our own `Math.random` in the place of one that goes on from message to message.
pub(crate) fn install(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    let math: Object = ctx.globals().get("Math")?;
    math.set("random", Function::new(ctx.clone(), random)?.with_name("random")?)
}

/// Marsaglia's xorshift with a multiplication, 53 bits of it.
fn random() -> f64 {
    let mut bits = CHANCE.get();
    bits ^= bits >> 12;
    bits ^= bits << 25;
    bits ^= bits >> 27;
    CHANCE.set(bits);
    (bits.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
}

/// QuickJS asks for the time here, in microseconds since 1970: it is the only thing that it would import.
#[cfg(target_arch = "wasm32")]
#[no_mangle]
#[allow(unsafe_code, reason = "the name is the one that QuickJS is linked against")]
extern "C" fn __rquickjs_host_now_us() -> f64 {
    NOW_MS.get() as f64 * 1_000.0
}
