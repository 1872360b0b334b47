//! Moves of volumes through the REST surface, with a host that says what the test wants.

mod kit;

use kit::host::{host, pool, tell};
use kit::{Kit, code};
use tepui_types::agent::{PoolObserved, PoolState, StorageObserved, StoredState, VolumeObserved};
use tepui_types::endpoint::{CreateVolume, DrainPool, ListVolumeMoves, MoveVolume, ShowPool, UndrainPool};
use tepui_types::rest::{
    CreateVolumeRequest, DrainPoolRequest, Empty, MoveStage, MoveVolumeRequest, PoolLeaving,
};

#[tokio::test]
async fn administrators_move_volumes_and_empty_pools_and_see_how_far_that_is() {
    let kit = Kit::start().await;
    let agent = host(&kit).await;
    let admin = kit.admin();
    let fast = pool(&kit, "node-1", "fast", "gp3").await.id;
    let second = pool(&kit, "node-1", "second", "gp3").await.id;
    let state = PoolState::Ready { total_bytes: 100 << 30, used_bytes: 1 << 30 };
    let pools: Vec<_> = [fast, second].map(|id| PoolObserved { id, state: state.clone() }).into();
    tell(&kit, &agent, 2, &[], Some(StorageObserved { pools: pools.clone(), ..StorageObserved::default() }))
        .await;
    admin.call::<DrainPool>(&["second"], &DrainPoolRequest::default()).await.unwrap();
    let request = CreateVolumeRequest {
        size_gib: Some(1),
        name: Some("data".into()),
        ..CreateVolumeRequest::default()
    };
    let id = admin.call::<CreateVolume>(&[], &request).await.unwrap().id;
    admin.call::<UndrainPool>(&["second"], &Empty {}).await.unwrap();
    let there = VolumeObserved { id, state: StoredState::Present { size_bytes: 1 << 30 } };
    let seen = StorageObserved { pools, volumes: vec![there], ..StorageObserved::default() };
    tell(&kit, &agent, 3, &[], Some(seen)).await;

    let colleague = kit.colleague("mia").await;
    let to = |pool: &str| MoveVolumeRequest { pool: pool.into() };
    assert_eq!(code(colleague.call::<MoveVolume>(&["data"], &to("second")).await).0, 403);
    assert_eq!(code(colleague.call::<ListVolumeMoves>(&[], &Empty {}).await).0, 403);
    assert_eq!(code(admin.call::<MoveVolume>(&["vol-0123456789abcdef0"], &to("second")).await).0, 404);
    assert_eq!(code(admin.call::<MoveVolume>(&["data"], &to("third")).await).0, 404);
    for text in ["data".to_owned(), id.to_string()] {
        let begun = admin.call::<MoveVolume>(&[&text], &to("second")).await.unwrap().items;
        assert_eq!((begun.len(), begun[0].volume_id, begun[0].stage), (1, id, MoveStage::Copying));
        assert_eq!((begun[0].from_pool_id, begun[0].to_pool_id), (fast, second));
    }
    assert_eq!(admin.call::<ListVolumeMoves>(&[], &Empty {}).await.unwrap().items.len(), 1);
    assert_eq!(admin.call::<MoveVolume>(&["data"], &to("fast")).await.unwrap().items, []);

    let drain = DrainPoolRequest { move_volumes: true };
    let drained = admin.call::<DrainPool>(&["fast"], &drain).await.unwrap();
    let leaving = drained.leaving.unwrap();
    assert_eq!((drained.draining, leaving.in_use, leaving.moving + leaving.waiting), (true, 0, 1));
    admin.call::<UndrainPool>(&["fast"], &Empty {}).await.unwrap();
    let shown = admin.call::<ShowPool>(&["fast"], &Empty {}).await.unwrap();
    assert_eq!((shown.draining, shown.leaving), (false, None::<PoolLeaving>));
}
