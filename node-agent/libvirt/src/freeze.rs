//! File systems of guests that hold still, by the guest agent's own commands: unlike `virDomainFSFreeze` they have a time
//! limit of their own, without which a guest whose disk hangs keeps the call for ever, and one of them tells the state.

use std::time::Instant;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tepui_types::PlacementId;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

use crate::host::{Outcome, lookup, present};

const STATUS: &str = r#"{"execute":"guest-fsfreeze-status"}"#;
const FREEZE: &str = r#"{"execute":"guest-fsfreeze-freeze"}"#;
const THAW: &str = r#"{"execute":"guest-fsfreeze-thaw"}"#;

/// How long the guest agent may take, in seconds. To hold still a guest first writes out what it has not written yet, and
/// what writes there waits meanwhile: one that cannot do that within ten seconds should not be held up longer.
const STATUS_SECONDS: i32 = 2;
const FREEZE_SECONDS: i32 = 10;
const THAW_SECONDS: i32 = 5;

/// What became of asking a guest to hold still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreezeAnswer {
    /// So many of its file systems do; one where it is paused.
    Frozen(u32),
    /// None does, because of this.
    Refused(String),
}

#[derive(Deserialize)]
struct Reply<T> {
    #[serde(rename = "return")]
    value: T,
}

/// It asks for the state first: a guest that does not answer that was not asked to hold still. Nor is one that would be asked
/// after `by`: its answer would come when nobody waits for it, and nobody would thaw it.
pub(crate) fn freeze(connect: &Connect, id: PlacementId, by: Instant) -> Outcome<FreezeAnswer> {
    let refused = |why: String| Ok(FreezeAnswer::Refused(why));
    let Some(domain) = running(connect, id)? else { return refused("the guest does not run".into()) };
    match domain.qemu_agent_command(STATUS, STATUS_SECONDS, 0) {
        Err(error) => return refused(format!("the guest agent does not answer: {}", error.message())),
        Ok(reply) => match value::<String>(&reply).as_deref() {
            Some("thawed") => {}
            Some("frozen") => return refused("the guest's file systems hold still already".into()),
            Some(_) | None => return refused(format!("the guest agent says: {}", cut(&reply))),
        },
    }
    if Instant::now() > by {
        return refused("it took too long until the guest could be asked".into());
    }
    let reply = domain.qemu_agent_command(FREEZE, FREEZE_SECONDS, 0)?;
    match value(&reply) {
        Some(0) => refused("the guest has no file system that can hold still".into()),
        Some(count) => Ok(FreezeAnswer::Frozen(count)),
        // Nobody knows; it is thawed like one that does.
        None => Ok(FreezeAnswer::Frozen(u32::MAX)),
    }
}

/// Of a guest that is paused the agent cannot answer: ask again.
pub(crate) fn thaw(connect: &Connect, id: PlacementId) -> Outcome<Option<u32>> {
    let Some(domain) = lookup(connect, id)? else { return Ok(None) };
    match present(domain.qemu_agent_command(THAW, THAW_SECONDS, 0)) {
        Ok(reply) => Ok(reply.map(|reply| value(&reply).unwrap_or_default())),
        Err(error) => match present(domain.is_active())? {
            Some(true) => Err(error),
            Some(false) | None => Ok(None),
        },
    }
}

fn running(connect: &Connect, id: PlacementId) -> Result<Option<Domain>, Error> {
    let Some(domain) = lookup(connect, id)? else { return Ok(None) };
    let state = present(domain.get_state())?;
    Ok((state.map(|(state, _)| state) == Some(sys::VIR_DOMAIN_RUNNING)).then_some(domain))
}

fn value<T: DeserializeOwned>(reply: &str) -> Option<T> {
    serde_json::from_str::<Reply<T>>(reply).ok().map(|reply| reply.value)
}

/// A guest says what it likes.
fn cut(reply: &str) -> String {
    reply.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_as_guest_agents_write_them() {
        assert_eq!(value(r#"{"return":3}"#), Some(3));
        assert_eq!(value::<String>(r#"{"return":"thawed"}"#).as_deref(), Some("thawed"));
        assert_eq!(value::<u32>(r#"{"return":{}}"#), None);
        assert_eq!(value::<u32>("{"), None);
        assert_eq!(cut("a\nb"), "ab");
    }

    #[test]
    fn a_guest_that_is_missing_or_has_no_agent_refuses_and_has_nothing_to_thaw() {
        let connect = Connect::open(Some("test:///default")).unwrap();
        let id = PlacementId::from_random(0xf7_ee2e);
        assert_eq!(
            freeze(&connect, id, Instant::now()).unwrap(),
            FreezeAnswer::Refused("the guest does not run".into())
        );
        assert_eq!(thaw(&connect, id).unwrap(), None);
        let xml = format!(
            "<domain type='test'><name>{}</name><memory>1024</memory><os><type>hvm</type></os></domain>",
            crate::identity::domain_name(id)
        );
        let domain = Domain::create_xml(&connect, &xml, 0).unwrap();
        let refused = freeze(&connect, id, Instant::now()).unwrap();
        assert!(
            matches!(&refused, FreezeAnswer::Refused(why) if why.contains("does not answer")),
            "{refused:?}"
        );
        assert!(thaw(&connect, id).is_err(), "it runs, and nobody knows");
        domain.suspend().unwrap();
        assert_eq!(
            freeze(&connect, id, Instant::now()).unwrap(),
            FreezeAnswer::Refused("the guest does not run".into())
        );
        domain.destroy().unwrap();
        assert_eq!(thaw(&connect, id).unwrap(), None);
    }
}
