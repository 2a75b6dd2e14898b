//! How the C library's allocator gives memory back.

/// Blocks from this size on are mapped one by one and given back when freed, bytes.
///
/// 256 KiB, and fixed: glibc otherwise raises it to the largest block ever freed, so that the 12 MiB that hashing
/// one password takes would stay in the process for good.
const MAPPED_BYTES_MIN: libc::c_int = 256 * 1024;

/// Arenas of the allocator; each keeps its own free memory. Two serve the few threads that we run.
const ARENAS_MAX: libc::c_int = 2;

/// Makes the allocator give memory back soon. Call it first thing in `main`; without glibc it does nothing.
///
/// Returns false when the allocator refused, which costs memory and nothing else.
#[must_use = "say in the log when memory will not be given back"]
pub fn give_memory_back() -> bool {
    set_limits()
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt has no safe wrapper")]
fn set_limits() -> bool {
    // SAFETY: mallopt takes two integers, locks the allocator itself and keeps no pointer.
    let mapped = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN) };
    // SAFETY: as above.
    let arenas = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX) };
    mapped == 1 && arenas == 1
}

#[cfg(not(target_env = "gnu"))]
fn set_limits() -> bool {
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_allocator_of_this_machine_takes_the_limits() {
        assert!(super::give_memory_back());
    }
}
