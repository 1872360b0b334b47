#![no_main]

#[path = "../targets/sigv4_canonical.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
