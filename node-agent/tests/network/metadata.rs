//! The metadata service on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use tepui_agent::execute::NetworkKeeper;
use tepui_agent::metadata::MetadataService;
use tepui_types::agent::{
    InstanceMetadata, MetadataInterface, MetadataOptions, NodePart, PlacementPart, PlacementSpec, Power,
    RootDisk, ScratchDisks, VpcPart, WantedPlacement,
};
use tepui_types::{Digest, ImageId, InstanceId, ProjectId, ReservationId, Timestamp, VolumeId};

use super::lab::{LONG, Lab, group, group_id, lab, port, vpc, wanted};

/// What a guest behind the first port of `part` may read.
fn spec(part: &VpcPart, hop_limit: u8) -> PlacementSpec {
    let port = &part.ports[0];
    let interface = MetadataInterface {
        id: port.id,
        mac: port.mac,
        private_ip: port.private_ip,
        public_ip: None,
        subnet_id: port.subnet_id,
        subnet_cidr: part.subnets[0].cidr,
        vpc_id: part.id,
        vpc_cidr: part.cidr,
        security_group_ids: port.groups.clone(),
    };
    let metadata = InstanceMetadata {
        options: MetadataOptions { enabled: true, tokens_required: true, hop_limit, tags_enabled: false },
        image_id: ImageId::from_random(1),
        instance_type: "t3.micro".into(),
        launch_index: 0,
        reservation_id: ReservationId::from_random(1),
        launched_at: Timestamp::UNIX_EPOCH,
        availability_zone: "tepui-1a".into(),
        region: "tepui-1".into(),
        local_hostname: "ip-172-31-0-11.tepui-1.compute.internal".into(),
        public_keys: BTreeMap::new(),
        security_groups: Vec::new(),
        interfaces: vec![interface],
        block_devices: Vec::new(),
        tags: BTreeMap::new(),
        identity_document: "{}".into(),
        identity_signature: String::new(),
    };
    PlacementSpec {
        instance_id: InstanceId::from_random(1),
        project_id: ProjectId::from_random(0),
        power: Power::Running { start_seq: 1, reboot_seq: 0 },
        vcpus: 1,
        memory_mib: 128,
        root_disk: Some(RootDisk {
            volume_id: VolumeId::from_random(1),
            image_digest: Digest::of(b"image"),
            image_bytes: 5,
            size_bytes: 1 << 30,
        }),
        disks: Vec::new(),
        scratch: ScratchDisks::NONE,
        freeze: None,
        metadata,
        user_data: None,
    }
}

/// Notes the time to live of every packet with content that the guest gets from the service.
fn watch(lab: &Lab) {
    let rules = lab.run_dir().join("watch.nft");
    let text = "table ip watch {\n set seen { typeof ip ttl; flags dynamic; }\n chain in {\n\
                type filter hook input priority 0\n\
                ip saddr 169.254.169.254 tcp sport 80 tcp flags & psh == psh update @seen { ip ttl }\n }\n}\n";
    std::fs::write(&rules, text).unwrap();
    lab.exec("tpt1", "nft", &["-f", rules.to_str().unwrap()]);
}

fn seen(lab: &Lab) -> BTreeSet<u64> {
    let text = lab.exec("tpt1", "nft", &["-j", "list", "set", "ip", "watch", "seen"]);
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let elements = all["nftables"].as_array().unwrap().iter().find_map(|one| one["set"]["elem"].as_array());
    elements.into_iter().flatten().filter_map(serde_json::Value::as_u64).collect()
}

/// A connection of the guest, on which requests are made one after the other.
struct Client(TcpStream);

impl Client {
    fn new(lab: &Lab) -> Self {
        let stream = lab
            .inside("tpt1", || TcpStream::connect_timeout(&([169, 254, 169, 254], 80).into(), LONG).unwrap());
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self(stream)
    }

    /// The content of the answer, which must be a good one.
    async fn ask(&self, line: &str, header: &str) -> String {
        let mut stream = self.0.try_clone().unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: metadata\r\n{header}\r\n\r\n");
        let ask = move || {
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = vec![0; 4096];
            let length = stream.read(&mut answer).unwrap();
            String::from_utf8(answer[..length].to_vec()).unwrap()
        };
        let answer = tokio::task::spawn_blocking(ask).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

#[test]
fn a_token_goes_as_far_as_the_instances_hop_limit_and_nothing_after_it_on_its_connection_goes_farther() {
    lab(async |lab: &Lab| {
        let mut part = vpc(1);
        part.groups = vec![group(1, &[])];
        part.ports = vec![port(&part, 1, &[group_id(1)])];
        lab.guest("tpt1", &part.ports[0]);
        let metadata = Arc::new(MetadataService::new(&[3; 32]));
        let keeper = NetworkKeeper::new(Arc::new(lab.restarted().await), Some(Arc::clone(&metadata)));
        keeper.want(wanted(&[&part]));
        keeper.ensure().await.unwrap();
        for hop_limit in [1, 3] {
            let wanted = PlacementPart::Present(Box::new(spec(&part, hop_limit)));
            let placements = vec![WantedPlacement { id: part.ports[0].placement_id, wanted }];
            metadata.directory().replace(Arc::new(NodePart { placements }));
            watch(lab);
            let first = Client::new(lab);
            let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60";
            let token =
                format!("X-aws-ec2-metadata-token: {}", first.ask("PUT /latest/api/token", ttl).await);
            assert_eq!(seen(lab), BTreeSet::from([hop_limit.into()]), "the token");
            first.ask("GET /latest/meta-data/instance-id", &token).await;
            assert_eq!(seen(lab), BTreeSet::from([hop_limit.into()]), "what follows the token");
            Client::new(lab).ask("GET /latest/meta-data/instance-id", &token).await;
            assert_eq!(seen(lab), BTreeSet::from([hop_limit.into(), 64]), "another connection");
            lab.exec("tpt1", "nft", &["delete", "table", "ip", "watch"]);
        }
    });
}
