//! Where the things under test are.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A release binary, as users run it.
pub fn binary(name: &str) -> PathBuf {
    existing(repository().join("target/release").join(name), "make release")
}

/// A guest image by its name, for example `tiny`.
pub fn image(name: &str) -> PathBuf {
    existing(repository().join("target/images").join(format!("{name}.qcow2")), "make images")
}

/// A program of the Python environment that holds the EC2 clients.
pub fn python(name: &str) -> PathBuf {
    existing(repository().join("target/venv/bin").join(name), "make venv")
}

fn existing(path: PathBuf, make: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing; '{make}' makes it", path.display());
    path
}
