//! What goes wrong meanwhile, by chance.

use rand::Rng as _;
use rand::seq::IteratorRandom as _;
use tepui_storage::{STEPS, iscsi, nfs};
use tepui_types::failpoint;

use crate::site::Site;

/// Where the control plane dies while it takes a host's word.
const POINTS: [&str; 3] =
    ["core::report::planned", "core::storage_news::applied", "core::storage_news::woken"];

impl Site {
    /// One thing, as a line for the log.
    pub(crate) async fn fault(&mut self) -> String {
        let host = self.chance.random_range(0..self.hosts.len());
        let cloud = self.cloud();
        match self.chance.random_range(0..16) {
            0 => {
                self.hosts[host].restart();
                self.count("agent dies");
                format!("the agent of {host} dies")
            }
            1..6 => self.dies_at_step().await,
            6 => {
                drop(cloud);
                self.control_dies().await;
                "the control plane dies".into()
            }
            7 | 8 => {
                drop(cloud);
                self.control_dies_at_report(host).await
            }
            9 | 10 => self.servers_die(host).await,
            11 => {
                self.hosts[host].poll(&cloud).await;
                self.hosts[host].apply().await;
                self.hosts[host].restart();
                self.count("report lost");
                format!("the agent of {host} dies before it has spoken")
            }
            12 => {
                self.hosts[host].poll(&cloud).await;
                self.hosts[host].restart();
                self.count("agent dies");
                format!("the agent of {host} dies before it has acted")
            }
            13 => {
                self.hosts[host].poll(&cloud).await;
                self.hosts[host].apply().await;
                self.hosts[host].report(&cloud).await.unwrap();
                self.hosts[host].report_late(&cloud).await;
                self.count("report comes twice");
                format!("a report of {host} comes twice")
            }
            14 => {
                self.wire.break_next();
                self.count("content breaks off");
                "the next content that is sent breaks off".into()
            }
            _ => {
                self.round().await;
                "time passes".into()
            }
        }
    }

    /// A host's agent dies at a step of what it has to do by now, if any has something to do.
    async fn dies_at_step(&mut self) -> String {
        let cloud = self.cloud();
        let mut points = Vec::new();
        for (index, host) in self.hosts.iter_mut().enumerate() {
            host.poll(&cloud).await;
            for due in host.due() {
                let all = STEPS.iter().chain(iscsi::STEPS).chain(nfs::STEPS);
                let own = all.filter(|(operation, _)| *operation == due);
                points.extend(own.flat_map(|(_, steps)| *steps).map(|step| (index, due, *step)));
            }
        }
        let chosen = points.into_iter().choose(&mut self.chance);
        let Some((host, operation, step)) = chosen else { return "nobody has anything to do".into() };
        let point = format!("storage::{operation}::{step}");
        let died = self.hosts[host].apply_until(&point).await;
        if died {
            self.count("agent dies at a step");
        }
        format!("the agent of {host} dies at {point}: {died}")
    }

    pub(crate) async fn control_dies(&mut self) {
        self.wire.cut();
        // What was asked of it gives up.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        self.control.die().await;
        self.control.come_back().unwrap();
        self.wire.lead_to(&self.cloud());
        self.count("control plane dies");
    }

    async fn control_dies_at_report(&mut self, host: usize) -> String {
        let cloud = self.cloud();
        self.hosts[host].poll(&cloud).await;
        self.hosts[host].apply().await;
        let point = POINTS[self.chance.random_range(0..POINTS.len())];
        failpoint::arm(point, failpoint::Effect::Error);
        let died = self.hosts[host].report(&cloud).await.is_err();
        failpoint::disarm(point);
        drop(cloud);
        if died {
            self.count("control plane dies at a step");
            self.control_dies().await;
        }
        format!("the control plane dies at {point}: {died}")
    }

    /// Guests write while what serves them dies.
    async fn servers_die(&mut self, host: usize) -> String {
        let used: Vec<_> = self
            .model
            .volumes
            .iter()
            .filter_map(|(id, volume)| Some((*id, volume.attached.as_ref()?.0)))
            .collect();
        if self.hosts[host].part().exports.is_empty() || self.is_unserved {
            return format!("nothing of {host} is used");
        }
        for (volume, guest) in used {
            if self.computes[guest].idle(volume).is_some() && self.chance.random() {
                self.begin_write(volume, guest);
            }
        }
        let died = self.hosts[host].kill_servers();
        if died {
            self.is_unserved = true;
            self.count("servers die");
        }
        format!("the servers of {host} die: {died}")
    }
}
