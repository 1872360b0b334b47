//! Any reply to a poll is taken into the ledger or refused. What was taken is no news when it comes again,
//! is the same after a restart, and can be told to the guests that it is for.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use tepui_agent::ledger::{Ledger, Seal};
use tepui_agent::metadata::{Question, Tokens, answer};
use tepui_types::NodeId;
use tepui_types::agent::{NodePart, PartKey, PlacementPart, PollReply};

const PATHS: [&str; 5] = [
    "latest/meta-data/",
    "latest/meta-data/network/interfaces/macs/",
    "latest/meta-data/block-device-mapping/",
    "latest/dynamic/instance-identity/document",
    "latest/user-data",
];

pub(crate) fn run(reply: &[u8]) {
    let Ok(reply) = serde_json::from_slice::<PollReply>(reply) else { return };
    // In memory: nobody's disk is waited for.
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let seal = || Seal::open(&dir.path().join("key")).expect("a key");
    let open = || Ledger::open(&dir.path().join("ledger"), seal()).expect("a ledger");
    let (node, mut ledger) = (addressee(&reply), open());
    ledger.take(node, reply.epoch, reply.parts.clone()).expect("room for the parts");
    let wanted = ledger.wanted();
    let again = ledger.take(node, reply.epoch, reply.parts).expect("room for the parts");
    assert!(!again.changed, "no news the second time");
    assert_eq!(ledger.wanted(), wanted);
    let restarted = open();
    assert_eq!(
        (restarted.epoch(), restarted.wanted(), restarted.have()),
        (ledger.epoch(), wanted, ledger.have())
    );
    tell_guests(&ledger.wanted().node);
}

/// The node whose part is in the reply; which it is matters to nobody else.
fn addressee(reply: &PollReply) -> NodeId {
    let node = reply.parts.iter().find_map(|part| match part.key {
        PartKey::Node(id) => Some(id),
        PartKey::Vpc(_) | PartKey::Storage(_) => None,
    });
    node.unwrap_or_else(|| NodeId::from_random(1))
}

fn tell_guests(node: &Arc<NodePart>) {
    let (tokens, now) = (Tokens::new(&[7; 32]), Duration::from_secs(1));
    for placement in &node.placements {
        let PlacementPart::Present(spec) = &placement.wanted else { continue };
        let token = tokens.issue(placement.id, Duration::from_secs(60));
        for path in PATHS {
            let token = Some(token.as_str());
            let question = Question { method: &Method::GET, path, token, token_ttl: None, forwarded: false };
            answer(placement.id, spec, &tokens, &question, now);
        }
    }
}
