//! Any text is a request's parameters or is refused; nothing panics.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|query: &str| {
    tepui_ec2::check_query(query);
});
