//! The compiler and the pool that instances live in, and the ticker behind their deadlines.
//!
//! It guards the host: fuel and deadline, memory, stack and result size are set here, for every call of every codec.
//! Not here: what is loaded (`load.rs`), when an instance is made or thrown away (`instance.rs`).

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tracing::warn;
use wasmtime::{
    Config, Engine, Inlining, InstanceAllocationStrategy, PoolingAllocationConfig, ResourceLimiter, Store,
    UpdateDeadline,
};
use wireglot_model::{ProfileLimits, Timestamp, limits};

use crate::compiler::ApartCompiler;
use crate::error::OpenError;
use crate::wasi::Surroundings;

/// Address space of one linear memory. With all 4 GiB that a 32-bit codec can name reserved, compiled code needs no
/// bounds checks; only what is used costs memory.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
/// Instances beyond the workers' own: one per proof that is running, one per isolated call.
const SPARE_INSTANCES: u32 = 64;
/// Two versions for each profile that is decoded in the shadow.
const SHADOW_INSTANCES: u32 = 2 * limits::SHADOW_PROFILES_MAX as u32;
const TICK: Duration = Duration::from_millis(1);

/// The bounds of a codec, all of them from `model::limits` unless a test, a setting or a profile says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodecLimits {
    /// Largest component file.
    pub module_bytes_max: usize,
    /// Linear memory of one instance, all its memories together.
    pub memory_bytes_max: usize,
    /// What one result may make the host allocate.
    pub result_bytes_max: usize,
    /// Messages in one result.
    pub messages_max: usize,
    /// Samples in one result, over all messages.
    pub samples_max: usize,
    /// Warnings kept of one result.
    pub warnings_max: usize,
    /// Fuel of one call.
    pub fuel_per_call: u64,
    /// Wall-clock deadline of one call, in ticks of 1 ms.
    pub deadline_ticks: u64,
    /// Native stack of one call.
    pub stack_bytes_max: usize,
    /// Calls after which an instance is replaced.
    pub calls_per_instance_max: u32,
    /// Live instances in the process.
    pub instances_max: u32,
    /// Failed calls in a row after which a codec pauses.
    pub traps_in_a_row_max: u32,
    /// The first such pause, in milliseconds.
    pub pause_ms_min: u64,
}

impl Default for CodecLimits {
    fn default() -> Self {
        Self {
            module_bytes_max: limits::CODEC_MODULE_BYTES_MAX,
            memory_bytes_max: limits::CODEC_MEMORY_BYTES_MAX,
            result_bytes_max: limits::CODEC_RESULT_BYTES_MAX,
            messages_max: limits::CODEC_MESSAGES_MAX,
            samples_max: limits::CODEC_SAMPLES_MAX,
            warnings_max: limits::CODEC_WARNINGS_MAX,
            fuel_per_call: limits::CODEC_FUEL_PER_CALL,
            deadline_ticks: limits::CODEC_DEADLINE_TICKS,
            stack_bytes_max: limits::CODEC_STACK_BYTES_MAX,
            calls_per_instance_max: limits::CODEC_CALLS_PER_INSTANCE_MAX,
            instances_max: limits::CODEC_INSTANCES_MAX,
            traps_in_a_row_max: limits::CODEC_TRAPS_IN_A_ROW_MAX,
            pause_ms_min: limits::CODEC_PAUSE_MS_MIN,
        }
    }
}

impl CodecLimits {
    /// These limits with those that a profile sets in their place; its ranges are checked when it is read.
    pub(crate) fn under(&self, profile: &ProfileLimits) -> Self {
        let or = |set: Option<u32>, unit: usize, default: usize| {
            set.map_or(default, |value| (value as usize).saturating_mul(unit))
        };
        let deadline_ticks = profile.deadline_ms.map_or(self.deadline_ticks, u64::from);
        Self {
            memory_bytes_max: or(profile.memory_mib, 1024 * 1024, self.memory_bytes_max),
            result_bytes_max: or(profile.result_kib, 1024, self.result_bytes_max),
            messages_max: or(profile.messages, 1, self.messages_max),
            samples_max: or(profile.values, 1, self.samples_max),
            warnings_max: or(profile.warnings, 1, self.warnings_max),
            // The fuel is what ends a call in practice, so it grows and shrinks with the time.
            fuel_per_call: match profile.deadline_ms {
                None => self.fuel_per_call,
                Some(_) => (self.fuel_per_call / self.deadline_ticks.max(1)).saturating_mul(deadline_ticks),
            },
            deadline_ticks,
            traps_in_a_row_max: profile.traps_in_a_row.unwrap_or(self.traps_in_a_row_max),
            pause_ms_min: profile.pause_ms.map_or(self.pause_ms_min, u64::from),
            ..*self
        }
    }
}

impl CodecLimits {
    /// What scripts get of these: an interpreter takes more memory than what it interprets, and more time.
    pub(crate) fn of_scripts(&self) -> Self {
        Self {
            memory_bytes_max: self.memory_bytes_max.saturating_mul(limits::CODEC_SCRIPT_MEMORY_FACTOR),
            fuel_per_call: self.fuel_per_call.saturating_mul(limits::CODEC_SCRIPT_TIME_FACTOR),
            deadline_ticks: self.deadline_ticks.saturating_mul(limits::CODEC_SCRIPT_TIME_FACTOR),
            ..*self
        }
    }
}

/// The codec engine of a process. Cloning shares it.
#[derive(Clone)]
pub struct CodecEngine(pub(crate) Arc<EngineParts>);

pub(crate) struct EngineParts {
    pub(crate) engine: Engine,
    pub(crate) limits: CodecLimits,
    pub(crate) shared: Arc<SharedParts>,
    pub(crate) is_wasi: bool,
    /// The engine for components that import WASI, from the first one on.
    wasi: OnceLock<Arc<EngineParts>>,
    _ticker: Ticker,
}

/// What the engines of a process have in common.
#[derive(Default)]
pub(crate) struct SharedParts {
    /// Held while compiling: a compilation may take gigabytes and all cores, so there is one at a time.
    pub(crate) compiling: Mutex<()>,
    pub(crate) live_instances: AtomicUsize,
    pub(crate) compiler: OnceLock<ApartCompiler>,
}

impl CodecEngine {
    /// Sets up the compiler, reserves the address space of the pool and starts the ticker.
    pub fn open(limits: CodecLimits) -> Result<Self, OpenError> {
        EngineParts::open(limits, Arc::default(), false).map(|parts| Self(Arc::new(parts)))
    }

    /// From now on large components are compiled by this program, which must be of this version of this server.
    pub fn compile_large_with(&self, program: PathBuf) {
        // Whoever comes second names the same program: there is one.
        self.0.shared.compiler.get_or_init(|| ApartCompiler { program });
    }

    /// The bounds in force.
    pub fn limits(&self) -> &CodecLimits {
        &self.0.limits
    }
}

impl EngineParts {
    fn open(limits: CodecLimits, shared: Arc<SharedParts>, is_wasi: bool) -> Result<Self, OpenError> {
        let engine = match Engine::new(&pooled(&limits)) {
            Ok(engine) => engine,
            Err(error) => {
                // The usual cause is a limit on address space (`ulimit -v`). Instances are then mapped one by one:
                // slower to make and with bounds checks, but bounded by the very same limits.
                warn!(error = %format!("{error:#}"), "The instance pool cannot reserve its address space; codecs run slower without it.");
                Engine::new(&on_demand(&limits)).map_err(|error| OpenError::Engine(format!("{error:#}")))?
            }
        };
        let ticker = Ticker::start(engine.clone()).map_err(|error| OpenError::Engine(error.to_string()))?;
        Ok(Self { engine, limits, shared, is_wasi, wasi: OnceLock::new(), _ticker: ticker })
    }

    /// The engine for components that import WASI. They bring a whole language with them, so there may be fewer, and
    /// each may take more.
    pub(crate) fn wasi(&self) -> Result<Arc<Self>, OpenError> {
        if let Some(parts) = self.wasi.get() {
            return Ok(Arc::clone(parts));
        }
        let limits = CodecLimits {
            memory_bytes_max: self.limits.memory_bytes_max.max(limits::CODEC_WASI_MEMORY_BYTES_MAX),
            fuel_per_call: self.limits.fuel_per_call.max(limits::CODEC_WASI_FUEL_PER_CALL),
            deadline_ticks: self.limits.deadline_ticks.max(limits::CODEC_WASI_DEADLINE_TICKS),
            instances_max: self.limits.instances_max.min(limits::CODEC_WASI_INSTANCES_MAX),
            ..self.limits
        };
        let parts = Arc::new(Self::open(limits, Arc::clone(&self.shared), true)?);
        // Of two that were opened at once, one is dropped unused.
        Ok(Arc::clone(self.wasi.get_or_init(|| parts)))
    }
}

fn base(limits: &CodecLimits) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(limits.stack_bytes_max)
        // The bits of a NaN are the one thing in which two machines may differ; a replay must not.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // Guests are made of small functions, and each call of one looks at fuel and epoch.
        .compiler_inlining(Inlining::Yes)
        .wasm_memory64(false);
    config
}

fn pooled(limits: &CodecLimits) -> Config {
    let instances = limits.instances_max.saturating_add(SPARE_INSTANCES).saturating_add(SHADOW_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        // Both are counters, not reservations, so every instance may be of the largest kind.
        .total_core_instances(instances.saturating_mul(limits::CODEC_CORE_INSTANCES_MAX))
        .max_core_instances_per_component(limits::CODEC_CORE_INSTANCES_MAX)
        .max_memories_per_component(limits::CODEC_MEMORIES_MAX)
        .max_tables_per_component(limits::CODEC_CORE_INSTANCES_MAX)
        .max_tables_per_module(4)
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .table_elements(limits::CODEC_TABLE_ELEMENTS_MAX)
        // Address space only: what an instance gets of it is its limiter's to say.
        .max_memory_size(memory_bytes_most(limits))
        .linear_memory_keep_resident(0)
        .table_keep_resident(0);
    let mut config = base(limits);
    config
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

fn on_demand(limits: &CodecLimits) -> Config {
    let mut config = base(limits);
    config
        // A profile that allows more gets it by moving the memory: address space is what is scarce here.
        .memory_reservation(limits.of_scripts().memory_bytes_max as u64)
        .memory_reservation_for_growth(0)
        .memory_guard_size(64 * 1024)
        .allocation_strategy(InstanceAllocationStrategy::OnDemand);
    config
}

/// What the memory of one instance may grow to if its profile allows the most.
fn memory_bytes_most(limits: &CodecLimits) -> usize {
    limits.memory_bytes_max.max(1024 * 1024 * (*limits::PROFILE_MEMORY_MIB.end() as usize))
}

/// Moves the clock of the deadlines. It has its own thread because every other one may be inside a codec.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: Engine) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("codec-ticker".into()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("The codec ticker had panicked.");
        }
    }
}

/// What the host keeps beside an instance: how much memory it took, and may take.
pub(crate) struct GuestState {
    pub(crate) memory_bytes: usize,
    memory_bytes_max: usize,
    /// All that a component sees that imports WASI.
    pub(crate) surroundings: Surroundings,
    /// The thread's time when the running call had used up half of its deadline.
    slow_since: Option<Duration>,
}

/// A codec asked for more memory than it may have.
#[derive(Debug, thiserror::Error)]
#[error("the codec asked for more than {} KiB of memory", .memory_bytes_max / 1024)]
pub(crate) struct MemoryLimit {
    memory_bytes_max: usize,
}

/// A codec asked for more table elements than it may have.
#[derive(Debug, thiserror::Error)]
#[error("the codec asked for more than {} table elements", limits::CODEC_TABLE_ELEMENTS_MAX)]
pub(crate) struct TableLimit;

// Refused growth is an error, which traps: what a codec does after a failed `memory.grow` would depend on the host.
impl ResourceLimiter for GuestState {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if total > self.memory_bytes_max {
            return Err(MemoryLimit { memory_bytes_max: self.memory_bytes_max }.into());
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > limits::CODEC_TABLE_ELEMENTS_MAX { Err(TableLimit.into()) } else { Ok(true) }
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn instances(&self) -> usize {
        limits::CODEC_CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        limits::CODEC_CORE_INSTANCES_MAX as usize
    }

    fn memories(&self) -> usize {
        limits::CODEC_MEMORIES_MAX as usize
    }
}

/// A store with these bounds in place; `arm` must precede every call.
pub(crate) fn bounded_store(parts: &EngineParts, limits: &CodecLimits) -> Store<GuestState> {
    let memory_bytes_max = limits.memory_bytes_max;
    let state = GuestState {
        memory_bytes: 0,
        memory_bytes_max,
        surroundings: Surroundings::default(),
        slow_since: None,
    };
    let mut store = Store::new(&parts.engine, state);
    store.limiter(|state| state);
    store.set_hostcall_fuel(limits.result_bytes_max);
    let slice = half_deadline(limits);
    store.epoch_deadline_callback(move |mut store| Ok(overdue(store.data_mut(), thread_time(), slice)));
    store
}

/// What becomes of a call that is still running after half of its deadline.
///
/// Ticks pass while the thread waits for a core, which is not the codec's fault; so from the first half on the
/// thread's own time decides. A codec that runs without a pause is stopped at the end of the second half.
fn overdue(state: &mut GuestState, now: Duration, slice: u64) -> UpdateDeadline {
    let since = *state.slow_since.get_or_insert(now);
    // The ticker and the thread's clock do not start together: a tick less is as good as a slice.
    if now.saturating_sub(since) + TICK >= TICK * u32::try_from(slice).unwrap_or(u32::MAX) && now != since {
        UpdateDeadline::Interrupt
    } else {
        UpdateDeadline::Continue(slice)
    }
}

fn half_deadline(limits: &CodecLimits) -> u64 {
    (limits.deadline_ticks / 2).max(1)
}

/// How long this thread has run.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Gives the next call its fuel, its deadline and its time.
pub(crate) fn arm(store: &mut Store<GuestState>, limits: &CodecLimits, now: Timestamp) {
    store.set_fuel(limits.fuel_per_call).expect("`base` switches fuel on for every engine");
    store.set_epoch_deadline(half_deadline(limits));
    let state = store.data_mut();
    state.slow_since = None;
    state.surroundings = Surroundings::at(now.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten ticks are half of the deadline; `times` is what the thread's clock shows, in ms, at each look.
    #[track_caller]
    fn check(times: &[u64], interrupted_at: Option<usize>) {
        let mut state = GuestState {
            memory_bytes: 0,
            memory_bytes_max: 0,
            surroundings: Surroundings::default(),
            slow_since: None,
        };
        let looks = times.iter().map(|ms| overdue(&mut state, Duration::from_millis(*ms), 10));
        let found =
            looks.collect::<Vec<_>>().iter().position(|look| matches!(look, UpdateDeadline::Interrupt));
        assert_eq!(found, interrupted_at, "{times:?}");
    }

    #[test]
    fn a_call_is_stopped_for_its_own_time_only() {
        check(&[5_000, 5_010], Some(1));
        check(&[5_000, 5_009], Some(1));
        check(&[5_000, 5_001, 5_002, 5_008, 5_012], Some(4));
        check(&[5_000, 5_000, 5_000, 5_003], None);
    }
}
