#![no_main]

#[path = "../targets/qcow2_header.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
