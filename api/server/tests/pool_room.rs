//! Volumes with an end, and the room that removed ones take, through the REST surface, with a host that says what the
//! test wants.

mod kit;

use kit::host::{host, pool, tell};
use kit::{Kit, code};
use tepui_types::PoolId;
use tepui_types::agent::{
    Leftover as Found, LeftoverKind as FoundKind, PoolObserved, PoolState, StorageObserved, StoredId,
    StoredState, VolumeObserved,
};
use tepui_types::endpoint::{
    CreateVolume, DeleteVolume, ListLeftovers, ReclaimPool, SetVolumeTtl, ShowVolume,
};
use tepui_types::rest::{
    CreateVolumeRequest, Empty, LeftoverKind, LeftoverState, SetVolumeTtlRequest, VolumeEndState,
};

fn seen(pool: PoolId) -> StorageObserved {
    let state = PoolState::Ready { total_bytes: 100 << 30, used_bytes: 1 << 30 };
    StorageObserved { pools: vec![PoolObserved { id: pool, state }], ..StorageObserved::default() }
}

#[tokio::test]
async fn what_was_removed_is_listed_and_unlinked_for_administrators_alone() {
    let kit = Kit::start().await;
    let agent = host(&kit).await;
    let pool = pool(&kit, "node-1", "fast", "gp3").await.id;
    tell(&kit, &agent, 2, &[], Some(seen(pool))).await;
    let admin = kit.admin();
    let request = CreateVolumeRequest {
        size_gib: Some(1),
        name: Some("data".into()),
        ..CreateVolumeRequest::default()
    };
    let id = admin.call::<CreateVolume>(&[], &request).await.unwrap().id;
    admin.call::<DeleteVolume>(&["data"], &Empty {}).await.unwrap();
    let kind = FoundKind::Removed { id: StoredId::Volume(id) };
    let gone = StorageObserved {
        volumes: vec![VolumeObserved { id, state: StoredState::Gone }],
        leftovers: vec![Found { pool_id: pool, kind, bytes: 4096 }],
        ..seen(pool)
    };
    tell(&kit, &agent, 3, &[], Some(gone)).await;
    let found = admin.call::<ListLeftovers>(&["fast"], &Empty {}).await.unwrap().items.remove(0);
    assert_eq!((found.id, found.kind), (id.to_string(), LeftoverKind::Volume));
    assert_eq!((found.state, found.bytes), (LeftoverState::Quarantined, Some(4096)));
    let grace = found.goes_at.unwrap().duration_since(found.removed_at.unwrap());
    assert_eq!(grace.as_secs(), 86_400);
    let colleague = kit.colleague("mia").await;
    assert_eq!(code(colleague.call::<ListLeftovers>(&["fast"], &Empty {}).await).0, 403);
    assert_eq!(code(colleague.call::<ReclaimPool>(&["fast"], &Empty {}).await).0, 403);
    for _ in 0..2 {
        let left = admin.call::<ReclaimPool>(&["fast"], &Empty {}).await.unwrap().items.remove(0);
        assert_eq!((left.state, left.goes_at), (LeftoverState::Unlinking, None));
    }
}

#[tokio::test]
async fn a_volume_has_an_end_that_is_set_moved_and_taken_away() {
    let kit = Kit::start().await;
    let agent = host(&kit).await;
    let pool = pool(&kit, "node-1", "fast", "gp3").await.id;
    tell(&kit, &agent, 2, &[], Some(seen(pool))).await;
    let admin = kit.admin();
    let request = |ttl_seconds| CreateVolumeRequest {
        size_gib: Some(1),
        name: Some("data".into()),
        ttl_seconds: Some(ttl_seconds),
        ..CreateVolumeRequest::default()
    };
    assert_eq!(code(admin.call::<CreateVolume>(&[], &request(60)).await).0, 400);
    let made = admin.call::<CreateVolume>(&[], &request(36_000)).await.unwrap();
    let end = made.end.unwrap();
    assert_eq!((end.state, end.not_before), (VolumeEndState::Later, end.at));
    assert_eq!(end.at.duration_since(end.warns_at).as_secs(), 3600);
    let set = async |ttl_seconds| {
        admin.call::<SetVolumeTtl>(&["data"], &SetVolumeTtlRequest { ttl_seconds }).await.unwrap().end
    };
    assert!(set(Some(72_000)).await.unwrap().at > end.at);
    assert_eq!(set(None).await, None);
    assert_eq!(admin.call::<ShowVolume>(&["data"], &Empty {}).await.unwrap().end, None);
}
