//! What the host's pools hold and serve.

mod bases;
mod exports;
mod keeper;
mod leftovers;
mod pools;
mod receive;
mod restore_tests;
mod simulated;
mod stored;
mod transfers;

use async_trait::async_trait;
use tepui_storage::{Content, PoolError};
use tepui_types::agent::{StorageObserved, StoragePart, WantedSending};

pub(crate) use bases::awaited_images;
pub use keeper::StorageKeeper;
pub use pools::{LocalPools, PoolSettings};
pub use receive::{ContentSource, RemoteContent};
pub use simulated::SimulatedStorage;

/// Makes pools as a part says. What it does not name is left as it is: only an explicit absence removes.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Does what can be done now, each step of which may be done twice, and says how everything is that the part
    /// names.
    async fn apply(&self, part: &StoragePart) -> StorageObserved;

    /// Returns when something that served volumes has ended, and [`Storage::apply`] is due.
    async fn ended(&self);

    /// Opens what a snapshot holds, beside all else.
    async fn content(&self, order: WantedSending) -> Result<Content, PoolError>;

    /// Returns when something that took its time has come or failed, for which a volume, a snapshot or a test waited, and
    /// [`Storage::apply`] is due.
    async fn arrived(&self);
}
