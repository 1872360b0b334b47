//! Snapshots that hold an image.

use tepui_core::{Error, SnapshotOfImage, SnapshotPlace};
use tepui_types::rest::{Snapshot, SnapshotImageRequest};

use super::routes::Call;
use super::snapshot::shown;
use super::{image, pool};
use crate::failure::Failure;

pub(super) async fn create(call: Call, request: SnapshotImageRequest) -> Result<Snapshot, Failure> {
    let image = image::find(&call, call.target()).await?;
    let SnapshotImageRequest { class, pool, description, name, mut tags } = request;
    let place = match (class, pool) {
        (class, None) => SnapshotPlace::Class(class),
        (None, Some(pool)) => SnapshotPlace::Pool(pool::find(&call, &pool).await?),
        (Some(class), Some(_)) => {
            return Err(Error::invalid("class", class, "is not named together with a pool").into());
        }
    };
    tags.extend(name.map(|name| ("Name".to_owned(), name)));
    let new = SnapshotOfImage { image, place, description, tags };
    Ok(shown(&call.caller, call.cloud().snapshot_of_image(&call.caller, new).await?))
}
