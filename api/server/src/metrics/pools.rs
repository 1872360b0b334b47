//! Gauges of the pools.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tepui_core::PoolView;
use tepui_types::agent::PoolState;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
    class: String,
}

type Gauges = Family<PoolLabels, Gauge>;

/// One set for each pool, by its name. What its host has not told this process yet is left out.
#[derive(Default)]
pub(super) struct Pools {
    usable: Gauges,
    total: Gauges,
    used: Gauges,
    provisioned: Gauges,
    volumes: Gauges,
    snapshots: Gauges,
}

impl Pools {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register(
            "pool_usable",
            "1 where the pool's host says that it can be used",
            new.usable.clone(),
        );
        registry.register("pool_total_bytes", "Size of the pool's file system", new.total.clone());
        registry.register("pool_used_bytes", "What is taken of the pool's file system", new.used.clone());
        let help = "Sum of the sizes of the pool's volumes, which take less";
        registry.register("pool_provisioned_bytes", help, new.provisioned.clone());
        registry.register("pool_volumes", "Volumes in the pool", new.volumes.clone());
        registry.register("pool_snapshots", "Snapshots in the pool", new.snapshots.clone());
        new
    }

    pub(super) fn fill(&self, pools: &[PoolView]) {
        let Self { usable, total, used, provisioned, volumes, snapshots } = self;
        [usable, total, used, provisioned, volumes, snapshots].into_iter().for_each(Family::clear);
        for PoolView { load, state } in pools {
            let labels = PoolLabels { pool: load.pool.name.clone(), class: load.pool.class.clone() };
            let set = |family: &Gauges, value: u64| {
                family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
            };
            set(provisioned, load.provisioned_gib.saturating_mul(1 << 30));
            set(volumes, load.volumes);
            set(snapshots, load.snapshots);
            match state {
                Some(PoolState::Ready { total_bytes, used_bytes }) => {
                    set(usable, 1);
                    set(total, *total_bytes);
                    set(used, *used_bytes);
                }
                Some(PoolState::Failed { .. }) => set(usable, 0),
                None => {}
            }
        }
    }
}
