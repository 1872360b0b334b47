#![no_main]

#[path = "../targets/ec2_query.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
