//! Reads what tgtd shows. It has no form for programs: lines, whose indentation says what they belong to.
//!
//! The alias that the peer of a session gave itself is in it, too, as it is: a compromised compute host can add lines,
//! and take none away. So nothing that fencing rests on is read from here. That a target is gone is tgtd's own answer
//! to its removal; what a host could forge is that another attachment has to wait.

use std::net::IpAddr;

/// A target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) number: i32,
    pub(super) name: String,
    pub(super) sessions: Vec<Session>,
    pub(super) units: Vec<Unit>,
    pub(super) accounts: Vec<String>,
    /// Names and addresses of initiators.
    pub(super) admitted: Vec<String>,
}

/// A session, or a connection of one: tgtd has one connection a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) connection: u32,
    pub(super) initiator: String,
    pub(super) address: Option<IpAddr>,
}

/// A logical unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) number: u64,
    pub(super) serial: String,
    pub(super) read_only: bool,
    pub(super) thin: bool,
    /// Its size in millions of bytes, rounded.
    pub(super) megabytes: u64,
    pub(super) path: Option<String>,
    /// Its writes are answered once they are on the disk.
    pub(super) durable: bool,
}

/// The part of a target that a line belongs to.
#[derive(Clone, Copy)]
enum Part {
    Head,
    Sessions,
    Units,
    Accounts,
    Admitted,
}

/// Reads what `show target` answers.
pub(super) fn targets(text: &str) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    let mut part = Part::Head;
    for (depth, line) in lines(text) {
        if let (0, Some(target)) = (depth, target(line)) {
            targets.push(target);
            part = Part::Head;
        }
        let Some(target) = targets.last_mut() else { continue };
        match (depth, part) {
            (1, _) => part = part_of(line),
            (2.., Part::Sessions) => session(&mut target.sessions, line),
            (2.., Part::Units) => unit(&mut target.units, line),
            (2, Part::Accounts) => target.accounts.push(line.to_owned()),
            (2, Part::Admitted) => target.admitted.push(line.to_owned()),
            _ => {}
        }
    }
    targets
}

/// Reads what `show conn` answers.
pub(super) fn connections(text: &str) -> Vec<Session> {
    let mut sessions = Vec::new();
    for (_, line) in lines(text) {
        session(&mut sessions, line);
    }
    sessions
}

/// Reads what `show account` answers.
pub(super) fn accounts(text: &str) -> Vec<String> {
    lines(text).filter(|(depth, _)| *depth == 1).map(|(_, line)| line.to_owned()).collect()
}

/// Reads what `show portal` answers: addresses with their ports.
pub(super) fn portals(text: &str) -> Vec<String> {
    let portal = |line: &str| Some(line.strip_prefix("Portal: ")?.rsplit_once(',')?.0.to_owned());
    text.lines().filter_map(portal).collect()
}

/// The depth of each line, and the line without its indentation.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().map(|line| {
        let content = line.trim_start_matches(' ');
        ((line.len() - content.len()) / 4, content)
    })
}

fn target(line: &str) -> Option<Target> {
    let (number, name) = line.strip_prefix("Target ")?.split_once(": ")?;
    Some(Target { number: number.parse().ok()?, name: name.to_owned(), ..Target::default() })
}

fn part_of(line: &str) -> Part {
    match line {
        "I_T nexus information:" => Part::Sessions,
        "LUN information:" => Part::Units,
        "Account information:" => Part::Accounts,
        "ACL information:" => Part::Admitted,
        _ => Part::Head,
    }
}

fn session(sessions: &mut Vec<Session>, line: &str) {
    let Some((key, value)) = line.split_once(": ") else { return };
    if matches!(key, "I_T nexus" | "Session") {
        let number = value.parse().unwrap_or_default();
        sessions.push(Session { number, ..Session::default() });
    }
    let Some(session) = sessions.last_mut() else { return };
    match key {
        "Connection" => session.connection = value.parse().unwrap_or_default(),
        // Targets show an alias behind it, and connections do not.
        "Initiator" => session.initiator = value.split(" alias: ").next().unwrap_or_default().to_owned(),
        "IP Address" => session.address = value.parse().ok(),
        _ => {}
    }
}

fn unit(units: &mut Vec<Unit>, line: &str) {
    let (key, value) = line.split_once(": ").unwrap_or((line, ""));
    if key == "LUN" {
        units.push(Unit { number: value.parse().unwrap_or_default(), ..Unit::default() });
    }
    let Some(unit) = units.last_mut() else { return };
    match key {
        "SCSI SN" => value.clone_into(&mut unit.serial),
        "Size" => unit.megabytes = value.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default(),
        "Readonly" => unit.read_only = value == "Yes",
        "Thin-provisioning" => unit.thin = value == "Yes",
        "Backing store flags" => unit.durable = value == "sync",
        "Backing store path" => unit.path = Some(value).filter(|path| *path != "None").map(str::to_owned),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const PIECES: &[&str] = &[
        "\n",
        "    ",
        " ",
        ": ",
        ",",
        "7",
        "Target ",
        "LUN",
        "Session",
        "I_T nexus",
        "I_T nexus information:",
        "LUN information:",
        "Account information:",
        "ACL information:",
        "Connection",
        "Initiator",
        " alias: ",
        "IP Address",
        "SCSI SN",
        "Size",
        " MB",
        "Backing store path",
        "Portal: ",
        "ä",
    ];

    #[test]
    fn targets_are_read_with_sessions_units_accounts_and_initiators() {
        let targets = targets(include_str!("show/targets.txt"));
        assert_eq!(targets.len(), 2);
        let disk = Unit {
            number: 1,
            serial: "vol0123456789abcdef0".into(),
            read_only: false,
            thin: true,
            megabytes: 67,
            path: Some("/pool/volumes/vol-0123456789abcdef0/disk.raw".into()),
            durable: true,
        };
        let session = Session {
            number: 2,
            connection: 0,
            initiator: "iqn.2026-11.cloud.tepui.host:att-00000000000000001-g1".into(),
            address: Some("10.9.0.2".parse().unwrap()),
        };
        let first = Target {
            number: 2_000_000_000,
            name: "iqn.2026-11.cloud.tepui:att-00000000000000001-g1".into(),
            sessions: vec![session.clone(), Session { number: 3, address: None, ..session }],
            units: vec![Unit { serial: "beaf20000000000".into(), ..Unit::default() }, disk],
            accounts: vec!["att-00000000000000001-g1".into()],
            admitted: vec!["iqn.2026-11.cloud.tepui.host:att-00000000000000001-g1".into()],
        };
        assert_eq!(targets[1], first);
        let second = &targets[0];
        assert_eq!((second.number, second.name.as_str()), (7, "iqn.2001-04.org.example:half made"));
        assert_eq!((&second.sessions, &second.accounts, &second.admitted), (&vec![], &vec![], &vec![]));
        assert_eq!(second.units.len(), 1);
    }

    #[test]
    fn connections_accounts_and_portals_are_read() {
        let text = "Session: 2\n    Connection: 1\n        Initiator: iqn.a:b\n        IP Address: ::1\n\
                    Session: 5\n    Connection: 0\n        Initiator: iqn.c\n        \n";
        let found = connections(text);
        let session = |number, connection, initiator: &str, address: Option<&str>| Session {
            number,
            connection,
            initiator: initiator.into(),
            address: address.map(|text| text.parse().unwrap()),
        };
        assert_eq!(found, [session(2, 1, "iqn.a:b", Some("::1")), session(5, 0, "iqn.c", None)]);
        assert_eq!(accounts("Account list:\n    u1\n    u2\n"), ["u1", "u2"]);
        assert_eq!(accounts(""), [""; 0]);
        assert_eq!(
            portals("Portal: 127.0.0.1:3260,1\nPortal: [::1]:3261,1\n"),
            ["127.0.0.1:3260", "[::1]:3261"]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(pieces in vec(select(PIECES), 0..60), rest: String) {
            let text = pieces.concat() + &rest;
            let _ = (targets(&text), connections(&text), accounts(&text), portals(&text));
        }
    }
}
