//! Any file is judged without a panic; what passes is within the limits.

use std::fs::File;
use std::io::Write;

use nix::sys::memfd::{MFdFlags, memfd_create};
use tepui_marketplace::{Limits, inspect};

/// Small ones, so that small files reach both sides of them.
const LIMITS: Limits = Limits { max_virtual_bytes: 1 << 30, max_stored_bytes: 1 << 20 };

pub(crate) fn run(image: &[u8]) {
    let mut file = File::from(memfd_create(c"image", MFdFlags::MFD_CLOEXEC).expect("memory for a file"));
    file.write_all(image).expect("memory for an image");
    if let Ok(inspection) = inspect(&file, &LIMITS) {
        assert!((1..=LIMITS.max_virtual_bytes).contains(&inspection.virtual_bytes), "{inspection:?}");
    }
}
