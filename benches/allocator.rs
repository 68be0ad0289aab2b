//! The system's allocator, counted: what a structure of a million entries takes is a figure like its speed. A bench
//! takes it in by `mod allocator;` and `#[global_allocator] static ALLOCATOR: allocator::Counting = allocator::Counting;`.
#![allow(unsafe_code)]
// Each bench uses the part it needs.
#![allow(dead_code, unreachable_pub)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
pub struct Counting;

/// Bytes asked for and not given back; what the allocator adds to each piece is not in it.
pub fn live_bytes() -> usize {
    LIVE_BYTES.load(Relaxed)
}

/// Allocations and reallocations so far.
pub fn allocations() -> usize {
    ALLOCATIONS.load(Relaxed)
}

// SAFETY: every call goes to `System` as it came; the counters touch no memory but their own.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the contract is the trait's, and passed on as it is.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises about `layout` are those `System` asks for.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the contract is the trait's, and passed on as it is.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: the contract is the trait's, and passed on as it is.
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE_BYTES.fetch_add(size, Relaxed);
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: `ptr` came from `System`, through `alloc`, with `layout`.
        unsafe { System.realloc(ptr, layout, size) }
    }

    // SAFETY: the contract is the trait's, and passed on as it is.
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: `ptr` came from `System`, through `alloc`, with `layout`.
        unsafe { System.dealloc(ptr, layout) }
    }
}
