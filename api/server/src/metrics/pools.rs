//! Figures of the pools.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
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
type Counters = Family<PoolLabels, Counter>;

/// One set for each pool, by its name. What its host has not told this process yet is left out. Pools are few and an
/// operator's; volumes are many and come and go, so that they have no set of their own.
#[derive(Default)]
pub(super) struct Pools {
    usable: Gauges,
    total: Gauges,
    used: Gauges,
    provisioned: Gauges,
    volumes: Gauges,
    snapshots: Gauges,
    reads: Counters,
    writes: Counters,
    read_bytes: Counters,
    written_bytes: Counters,
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
        registry.register("pool_reads", "What guests read from the pool's volumes", new.reads.clone());
        registry.register("pool_writes", "What guests wrote to the pool's volumes", new.writes.clone());
        let help = "Bytes that guests read from the pool's volumes";
        registry.register("pool_read_bytes", help, new.read_bytes.clone());
        let help = "Bytes that guests wrote to the pool's volumes";
        registry.register("pool_written_bytes", help, new.written_bytes.clone());
        new
    }

    pub(super) fn fill(&self, pools: &[PoolView]) {
        let Self { usable, total, used, provisioned, volumes, snapshots, .. } = self;
        [usable, total, used, provisioned, volumes, snapshots].into_iter().for_each(Family::clear);
        let Self { reads, writes, read_bytes, written_bytes, .. } = self;
        [reads, writes, read_bytes, written_bytes].into_iter().for_each(Family::clear);
        for PoolView { load, state, io, leaving: _ } in pools {
            let labels = PoolLabels { pool: load.pool.name.clone(), class: load.pool.class.clone() };
            let set = |family: &Gauges, value: u64| {
                family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
            };
            for (family, value) in [
                (reads, io.reads),
                (writes, io.writes),
                (read_bytes, io.read_bytes),
                (written_bytes, io.written_bytes),
            ] {
                family.get_or_create(&labels).inc_by(value);
            }
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

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use tepui_db::PoolLoad;
    use tepui_db::model::{NodeState, Pool};
    use tepui_types::agent::{IoCounters, PoolBackend};
    use tepui_types::{NodeId, PoolId, Timestamp};

    use super::*;

    #[test]
    fn what_guests_did_is_a_counter_of_each_pool() {
        let mut registry = Registry::with_prefix("tepui");
        let pools = Pools::register(&mut registry);
        let pool = Pool {
            id: PoolId::from_random(1),
            name: "fast".into(),
            class: "gp3".into(),
            backend: PoolBackend::Iscsi,
            node_id: NodeId::from_random(1),
            path: "/srv/fast".into(),
            filer: None,
            soft_percent: 80,
            hard_percent: 90,
            draining: false,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let load = PoolLoad {
            pool,
            node_state: NodeState::Up,
            volumes: 1,
            provisioned_gib: 4,
            snapshots: 0,
            moves_out: false,
        };
        let io = IoCounters { reads: 1, writes: 2, read_bytes: 512, written_bytes: 1024 };
        let view = PoolView { load, state: None, io, leaving: None };
        // Each scrape fills them anew.
        pools.fill(std::slice::from_ref(&view));
        pools.fill(&[view]);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for (name, value) in [("reads", 1), ("writes", 2), ("read_bytes", 512), ("written_bytes", 1024)] {
            let line = format!("tepui_pool_{name}_total{{pool=\"fast\",class=\"gp3\"}} {value}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}
