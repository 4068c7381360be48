//! The guest's heap: an arena for what lives as long as one call, and free lists of power-of-two blocks.
//!
//! A codec allocates a few dozen short strings and lists per frame and frees them all. In the arena that is an addition
//! each, and it is empty again when the last of them is freed. What finds no room there, and what is allocated before
//! the settings are taken, because that stays, comes from the lists. The host replaces instances regularly, so lists
//! that never merge blocks are enough, and take a tenth of the code of a general allocator.
#![allow(unsafe_code, reason = "an allocator hands out raw memory; the target has one thread")]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::memory_grow;
use core::cell::UnsafeCell;
use core::ptr::null_mut;

const PAGE_BYTES: usize = 65_536;
/// Room for the link of a free block.
const BLOCK_BYTES_MIN: usize = 16;
/// Enough for a frame with a hundred values.
const ARENA_BYTES: usize = 16_384;

struct Heap(UnsafeCell<State>);

struct State {
    /// The first free block of two to the power of the index bytes; each free block begins with the address of the next.
    free: [*mut u8; usize::BITS as usize],
    /// The part of the last page that was never handed out.
    fresh: usize,
    fresh_end: usize,
    /// Where the arena's free part begins and ends; both 0 until it is opened.
    arena_next: usize,
    arena_end: usize,
    /// How many blocks of the arena are in use.
    arena_blocks: usize,
}

#[repr(align(16))]
struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);

// SAFETY: wasm32-unknown-unknown without the atomics feature has one thread.
unsafe impl Sync for Heap {}
// SAFETY: the same; and nobody but the heap names it.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_BYTES]));

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(State {
    free: [null_mut(); usize::BITS as usize],
    fresh: 0,
    fresh_end: 0,
    arena_next: 0,
    arena_end: 0,
    arena_blocks: 0,
}));

/// The settings are taken: from now on what is allocated is freed with the call.
pub fn open_arena() {
    // SAFETY: one thread, and no reference to the state outlives a call.
    let state = unsafe { &mut *HEAP.0.get() };
    if state.arena_end == 0 {
        state.arena_next = arena_start();
        state.arena_end = arena_start() + ARENA_BYTES;
    }
}

fn arena_start() -> usize {
    ARENA.0.get() as usize
}

fn is_in_arena(block: *mut u8) -> bool {
    (block as usize).wrapping_sub(arena_start()) < ARENA_BYTES
}

fn block_bytes(layout: Layout) -> usize {
    layout.size().max(layout.align()).max(BLOCK_BYTES_MIN).next_power_of_two()
}

impl State {
    fn from_arena(&mut self, layout: Layout) -> Option<*mut u8> {
        let start = self.arena_next.next_multiple_of(layout.align());
        if layout.size() > self.arena_end.saturating_sub(start) {
            return None;
        }
        self.arena_next = start + layout.size();
        self.arena_blocks += 1;
        Some(start as *mut u8)
    }

    fn into_arena(&mut self) {
        self.arena_blocks -= 1;
        if self.arena_blocks == 0 {
            self.arena_next = arena_start();
        }
    }

    /// A block never handed out before; its address is a multiple of its size, so every alignment is met.
    fn carve(&mut self, bytes: usize) -> *mut u8 {
        if bytes >= PAGE_BYTES {
            return grow(bytes / PAGE_BYTES) as *mut u8;
        }
        let mut start = self.fresh.next_multiple_of(bytes);
        if start + bytes > self.fresh_end {
            start = grow(1);
            if start == 0 {
                return null_mut();
            }
            self.fresh_end = start + PAGE_BYTES;
        }
        self.fresh = start + bytes;
        start as *mut u8
    }
}

/// The address of `pages` new pages; 0 where the host grants no more. (The stack lies at the real address 0.)
fn grow(pages: usize) -> usize {
    match memory_grow::<0>(pages) {
        usize::MAX => 0,
        before => before * PAGE_BYTES,
    }
}

// SAFETY: blocks are disjoint, as large as asked or larger, and aligned to their size; nothing here calls back.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and no reference to the state outlives a call.
        let state = unsafe { &mut *self.0.get() };
        if let Some(block) = state.from_arena(layout) {
            return block;
        }
        let bytes = block_bytes(layout);
        let list = &mut state.free[bytes.trailing_zeros() as usize];
        let block = *list;
        if block.is_null() {
            return state.carve(bytes);
        }
        // SAFETY: a free block begins with the link that `dealloc` wrote.
        *list = unsafe { *block.cast::<*mut u8>() };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`; the block is the caller's no longer, and one of the lists has room for a link.
        unsafe {
            let state = &mut *self.0.get();
            if is_in_arena(block) {
                return state.into_arena();
            }
            let list = &mut state.free[block_bytes(layout).trailing_zeros() as usize];
            *block.cast::<*mut u8>() = *list;
            *list = block;
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that `bytes` with this alignment is a valid layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        if is_in_arena(block) {
            // SAFETY: as in `alloc`.
            let state = unsafe { &mut *self.0.get() };
            let start = block as usize;
            if bytes <= layout.size() {
                return block;
            }
            // The last block grows where it is.
            if start + layout.size() == state.arena_next && bytes <= state.arena_end - start {
                state.arena_next = start + bytes;
                return block;
            }
        } else if block_bytes(wanted) == block_bytes(layout) {
            return block;
        }
        // SAFETY: the new block is disjoint from the old one, and both hold the smaller of the two sizes.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                core::ptr::copy_nonoverlapping(block, moved, layout.size().min(bytes));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
