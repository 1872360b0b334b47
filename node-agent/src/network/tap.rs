//! Taps.

use super::NetworkError;
use super::error::refused;
use super::namespace::Namespace;

/// Makes a persistent tap, down and on no bridge.
pub(super) async fn create(host: &Namespace, name: &str) -> Result<(), NetworkError> {
    let device = name.to_owned();
    let made = host.run(move || tepui_libvirt::create_tap(&device)).await.flatten();
    made.map_err(refused(|| format!("make the tap {name}")))
}
