//! Keeps the host tidy: evicts images, turns consoles over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tepui_types::Digest;
use tepui_types::agent::PlacementPart;

use super::Context;
use crate::console::LONGEST_LOG;
use crate::storage::awaited_images;

const EVERY: Duration = Duration::from_secs(60);

pub(super) async fn run(context: Arc<Context>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let wanted = context.shared.ledger().wanted();
        let mut digests: BTreeSet<Digest> =
            wanted.storage.iter().flat_map(|part| awaited_images(part)).collect();
        for placement in &wanted.node.placements {
            if let PlacementPart::Present(spec) = &placement.wanted {
                digests.extend(spec.root_disk.as_ref().map(|disk| disk.image_digest));
            }
            turn_console(&context, placement.id).await;
        }
        if let Err(error) = context.shared.executor.disks.tidy(&digests).await {
            tracing::warn!(message = crate::chain(&error), "cannot tidy the image cache");
        }
    }
}

async fn turn_console(context: &Context, id: tepui_types::PlacementId) {
    let path = context.consoles.join(crate::console::file_name(id));
    let turned = tokio::task::spawn_blocking(move || {
        tepui_libvirt::rotate_console(&path, LONGEST_LOG).map_err(|error| (path, error))
    });
    if let Ok(Err((path, error))) = turned.await {
        tracing::warn!(path = %path.display(), %error, "cannot turn a console over");
    }
}
