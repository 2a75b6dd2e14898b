//! Fuzzes `atproto::fuzz::fuzz_lexicon`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| atproto::fuzz::fuzz_lexicon(input));
