//! Between the hosts and the control plane, which may die and come back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{BoxStream, unfold};
use reqwest::StatusCode;
use tepui_agent::images::ImageSource;
use tepui_agent::link::LinkError;
use tepui_agent::storage::{ContentSource, RemoteContent, StorageKeeper};
use tepui_core::{Cloud, Content, Error};
use tepui_types::agent::WantedSending;
use tepui_types::{Digest, NodeId, SnapshotId};
use tokio::sync::watch;

/// What is under way on it ends with the control plane.
#[derive(Default)]
pub(crate) struct Wire {
    cloud: Mutex<Weak<Cloud>>,
    life: watch::Sender<u64>,
    breaks: AtomicBool,
}

impl Wire {
    /// From now on this is the control plane. What was asked of the one before has broken off.
    pub(crate) fn lead_to(&self, cloud: &Arc<Cloud>) {
        *self.cloud.lock().unwrap() = Arc::downgrade(cloud);
        self.life.send_modify(|life| *life += 1);
    }

    pub(crate) fn cut(&self) {
        *self.cloud.lock().unwrap() = Weak::new();
        self.life.send_modify(|life| *life += 1);
    }

    /// The next content that is sent breaks off.
    pub(crate) fn break_next(&self) {
        self.breaks.store(true, Ordering::SeqCst);
    }

    fn cloud(&self) -> Result<Arc<Cloud>, LinkError> {
        self.cloud.lock().unwrap().upgrade().ok_or_else(|| refused(StatusCode::BAD_GATEWAY))
    }

    /// Carries an order of a poll's reply out. Its portions go on by themselves.
    pub(crate) async fn send(&self, node: NodeId, keeper: &StorageKeeper, order: WantedSending) {
        let opened = keeper.content(order).await;
        let cloud = self.cloud().unwrap();
        let Ok(content) = opened else {
            // Nobody may wait for it any more.
            let _ = cloud.refuse_content(node, order.id);
            return;
        };
        let Ok(mut outlet) = cloud.bring_content(node, order.id, content.bytes()) else { return };
        let (mut life, breaks) = (self.life.subscribe(), self.breaks.swap(false, Ordering::SeqCst));
        let pass = async move {
            for portion in content {
                let Ok(portion) = portion else { return };
                if breaks || outlet.send(Bytes::from(portion)).await.is_err() {
                    return;
                }
            }
            // Its reader may be gone.
            let _ = outlet.end().await;
        };
        tokio::spawn(async move {
            tokio::select! {
                () = pass => {}
                _ = life.changed() => {}
            }
        });
    }
}

/// A host's way to what other hosts have.
pub(crate) struct FarContents {
    pub(crate) wire: Arc<Wire>,
    pub(crate) node: NodeId,
}

#[async_trait]
impl ContentSource for FarContents {
    async fn content(&self, of: SnapshotId) -> Result<RemoteContent, LinkError> {
        let mut life = self.wire.life.subscribe();
        let asked = async { Ok(self.wire.cloud()?.content_for_copy(self.node, of).await) };
        let content = tokio::select! {
            answer = asked => answer?,
            _ = life.changed() => return Err(refused(StatusCode::BAD_GATEWAY)),
        };
        match content {
            Ok(content) => Ok((content.raw_bytes, portions(content))),
            Err(Error::NotFound { .. }) => Err(refused(StatusCode::NOT_FOUND)),
            Err(_) => Err(refused(StatusCode::SERVICE_UNAVAILABLE)),
        }
    }
}

fn portions(content: Content) -> BoxStream<'static, Result<Bytes, LinkError>> {
    let next = |mut content: Content| async {
        let portion = content.next().await?;
        Some((portion.map_err(|_| refused(StatusCode::BAD_GATEWAY)), content))
    };
    unfold(content, next).boxed()
}

/// No volume here begins with one.
pub(crate) struct NoImages;

#[async_trait]
impl ImageSource for NoImages {
    async fn open(
        &self,
        _: Digest,
        _: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, LinkError>>, LinkError> {
        Err(refused(StatusCode::NOT_FOUND))
    }
}

fn refused(status: StatusCode) -> LinkError {
    LinkError::Refused { call: "the wire of the test", status, message: status.to_string() }
}
