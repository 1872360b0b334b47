//! Exports by a real tgtd, opened by QEMU's own initiator.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use support::client::{Client, Opener as _, told};
use support::lab::{Initiator, Lab, PATIENCE, lab, processes, secret_of};
use support::login::HalfLogin;
use support::nfs::kill;
use support::proxy::Proxy;
use support::{MIB, after_power_cut, volume};
use tepui_storage::iscsi::Tgt;
use tepui_storage::{Access, Backend as _, Export, ExportError, Revoked, Source};

use Access::{ReadOnly, ReadWrite};

fn revoke(lab: &Lab, export: &Export) -> Revoked {
    lab.run(lab.tgt.revoke(export.id, PATIENCE)).unwrap()
}

#[test]
fn the_right_credential_reads_and_writes_and_every_other_is_refused() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[]);
        let source = lab.ensure(&export);
        let right = lab.initiator(&export, &source);
        let output = right.perform(&["write -P 7 1M 64k", "read -P 7 1M 64k", "flush"], false);
        assert!(told(&output).contains("wrote 65536/65536") && output.status.success(), "{}", told(&output));
        assert_eq!(lab.content(MIB, 64 << 10), vec![7; 64 << 10]);

        let secret = lab.path.join("wrong");
        fs::write(&secret, "WrongSecret123456").unwrap();
        let wrong = |change: &dyn Fn(&mut Initiator)| {
            let mut initiator = right.clone();
            change(&mut initiator);
            initiator.refusal()
        };
        for (refusal, reason) in [
            (wrong(&|one| one.secret.clone_from(&secret)), "Authentication failure"),
            (wrong(&|one| one.account = None), "Authentication failure"),
            (wrong(&|one| one.account = Some("somebody".into())), "Authentication failure"),
            (wrong(&|one| one.initiator = "iqn.2026-11.cloud.tepui.host:other".into()), "Target not found"),
            (wrong(&|one| one.target.push('0')), "Target not found"),
        ] {
            assert!(refusal.contains(reason), "{refusal}");
        }

        assert_eq!(revoke(lab, &export), Revoked::Gone);
        let refusal = right.refusal();
        // Without a target tgtd closes every connection.
        assert!(refusal.contains("Failed to connect"), "{refusal}");
    });
}

#[test]
fn a_guest_sees_serial_and_size_may_discard_and_does_not_write_what_is_read_only() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let source = lab.ensure(&export);
        let initiator = lab.initiator(&export, &source);
        let ask = |initiator: &Initiator, words: &[&str]| {
            let Initiator { portal, target, .. } = initiator;
            let mut command = Command::new("iscsi-inq");
            command.env("LIBISCSI_CHAP_USERNAME", initiator.account.as_deref().unwrap());
            command.env("LIBISCSI_CHAP_PASSWORD", secret_of(export.id));
            command.args(["-i", &initiator.initiator]).args(words);
            support::call(command.arg(format!("iscsi://{portal}/{target}/1")))
        };
        let serial = ask(&initiator, &["-e", "1", "-c", "128"]);
        assert!(serial.contains(&volume(1).to_string().replace('-', "")), "{serial}");
        let length = initiator.perform(&["length", "write 0 8M", "discard 0 8M", "flush"], false);
        assert!(told(&length).contains("64 MiB"), "{}", told(&length));
        let allocated = lab.pool.volume(volume(1)).unwrap().unwrap().allocated;
        assert!(allocated < MIB, "a discard gives no room back: {allocated}");

        assert_eq!(revoke(lab, &export), Revoked::Gone);
        let readers = [lab.export(2, ReadOnly), lab.export(3, ReadOnly)];
        for export in &readers {
            let source = lab.ensure(export);
            let initiator = lab.initiator(export, &source);
            initiator.opens();
            let output = initiator.perform(&["write -P 9 0 4k"], false);
            assert!(!told(&output).contains("wrote 4096"), "{}", told(&output));
        }
        assert_eq!(lab.content(0, 4096), [0; 4096]);
        let found = lab.run(lab.tgt.list()).unwrap();
        assert!(found.iter().all(|found| found.open && found.access == ReadOnly), "{found:?}");
    });
}

#[test]
fn of_many_exports_one_that_cannot_open_keeps_no_other_from_it() {
    lab(|lab| {
        lab.recover(&[]);
        let [first, second] = [1, 2].map(|number| {
            let path = lab.pool.create_volume(volume(number), 64 * MIB).unwrap().path;
            support::lab::export(path, number, ReadWrite)
        });
        let mut intruder = second.clone();
        intruder.id = tepui_types::ExportId::from_random(3);
        let opened = lab.run(lab.tgt.ensure_all(&[first.clone(), second.clone(), intruder])).unwrap();
        assert!(
            matches!(&opened[..], [Ok(_), Ok(_), Err(ExportError::Held { .. })]),
            "a second writer of what was opened in the same call: {opened:?}"
        );
        for (export, source) in [&first, &second].into_iter().zip(opened) {
            lab.initiator(export, &source.unwrap()).opens();
        }
    });
}

#[test]
fn a_volume_that_grows_under_its_writer_shows_the_new_size_and_loses_no_write() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[]);
        let source = lab.ensure(&export);
        let initiator = lab.initiator(&export, &source);
        let mut writer = initiator.connect();
        writer.perform("write -P 1 0 64k");
        for number in 0..40_u64 {
            // It is under way, or waits for the connection, while the unit is made anew.
            writer.send(&format!("write -P {} {}k 64k", 2 + number, 64 * (1 + number)));
            if number % 8 == 0 {
                lab.pool.grow_volume(volume(1), (128 + 8 * number) * MIB).unwrap();
                assert_eq!(lab.ensure(&export), source);
            }
            assert!(writer.is_done(PATIENCE), "write {number}");
        }
        assert_eq!(connected(lab).matches("I_T nexus:").count(), 1, "the writer is back");
        for number in 0..40_u64 {
            let (wanted, offset) = (u8::try_from(2 + number).unwrap(), (1 + number) << 16);
            assert_eq!(lab.content(offset, 1 << 16), vec![wanted; 1 << 16], "write {number}");
        }
        drop(writer);
        let output = initiator.perform(&["length", "write -P 9 383M 1M", "read -P 9 383M 1M"], false);
        assert!(told(&output).contains("384 MiB") && output.status.success(), "{}", told(&output));

        // Nobody is disturbed where nothing has grown.
        let mut writer = initiator.connect();
        writer.perform("write -P 1 0 64k");
        let before = connected(lab);
        lab.ensure(&export);
        assert_eq!(connected(lab), before);
    });
}

/// The sessions of the only target, by their numbers.
fn connected(lab: &Lab) -> String {
    let shown = tgtadm(lab, &["--op", "show", "--mode", "target"]);
    shown.lines().filter(|line| line.contains("I_T nexus:")).collect()
}

fn tgtadm(lab: &Lab, words: &[&str]) -> String {
    let mut tgtadm = Command::new("tgtadm");
    tgtadm.env("TGT_IPC_SOCKET", lab.settings.run_dir.join("tgt"));
    support::call(tgtadm.args(["--lld", "iscsi"]).args(words))
}

#[test]
fn a_revoked_writer_is_cut_off_and_none_of_its_late_bytes_lands() {
    lab(|lab| {
        let first = lab.export(1, ReadWrite);
        lab.recover(&[]);
        let proxy = Proxy::to(lab.settings.portal);
        let source = lab.ensure(&first);
        let mut behind = lab.initiator(&first, &source);
        behind.portal = proxy.address;
        let mut writer = behind.connect();
        writer.perform("write -P 1 0 4k");
        let found = lab.run(lab.tgt.list()).unwrap();
        assert_eq!(found[0].connections.len(), 1, "{found:?}");
        assert_eq!(found[0].connections[0].address, Some("127.0.0.1".parse().unwrap()));

        // The wire is cut with a write in it, which comes when the wire is mended.
        proxy.cut(true);
        writer.send("write -P 66 0 4k");
        let second = lab.export(2, ReadWrite);
        let error = lab.run(lab.tgt.ensure(&second)).unwrap_err();
        assert!(
            matches!(&error, ExportError::Held { holder, .. } if *holder == first.id.to_string()),
            "{error}"
        );
        assert_eq!(revoke(lab, &first), Revoked::Gone);
        assert_eq!(revoke(lab, &first), Revoked::Gone);

        let source = lab.ensure(&second);
        let next = lab.initiator(&second, &source);
        let output = next.perform(&["read -P 1 0 4k", "write -P 2 0 4k", "flush"], false);
        assert!(output.status.success(), "{}", told(&output));
        proxy.cut(false);
        tries_again(&proxy);
        assert!(!writer.is_done(Duration::ZERO), "the old writer was served");
        assert_eq!(lab.content(0, 4096), [2; 4096]);
        let found = lab.run(lab.tgt.list()).unwrap();
        assert_eq!(
            found.iter().map(|found| (found.id, found.connections.len())).collect::<Vec<_>>(),
            [(Some(second.id), 0)]
        );

        // Whatever the old credential is mixed with, it opens nothing.
        let old = lab.initiator(&first, &source);
        let Initiator { account, initiator, .. } = lab.initiator(&first, &Source::clone(&source));
        for mixed in [
            Initiator { target: behind.target.clone(), ..behind.clone() },
            Initiator { target: next.target.clone(), ..behind.clone() },
            Initiator { account: behind.account.clone(), secret: old.secret.clone(), ..next.clone() },
            Initiator { account, initiator, secret: old.secret, ..next.clone() },
        ] {
            mixed.refusal();
        }
        next.opens();
        let error = lab.run(lab.tgt.ensure(&first)).unwrap_err();
        assert!(matches!(error, ExportError::Held { .. }), "{error}");
    });
}

#[test]
fn a_writer_that_goes_on_writing_is_cut_off_at_once() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let proxy = Proxy::to(lab.settings.portal);
        let mut behind = lab.initiator(&export, &lab.ensure(&export));
        behind.portal = proxy.address;
        let mut writer = behind.connect();
        writer.perform("write -P 1 0 16M");
        for pattern in 2..200 {
            writer.send(&format!("write -P {pattern} 0 16M"));
        }
        assert!(writer.is_done(PATIENCE));
        assert_eq!(revoke(lab, &export), Revoked::Gone);
        let content = lab.content(0, 16 << 20);
        tries_again(&proxy);
        assert!(lab.content(0, 16 << 20) == content, "a write landed after the revocation");
    });
}

/// Waits until an initiator that was cut off has tried to come back, several times.
fn tries_again(proxy: &Proxy) {
    let before = proxy.accepted();
    let deadline = Instant::now() + PATIENCE;
    while proxy.accepted() < before + 3 {
        assert!(Instant::now() < deadline, "the old writer does not even try");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_peer_that_was_cut_off_while_it_was_sent_to_is_given_up() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let proxy = Proxy::to(lab.settings.portal);
        let mut behind = lab.initiator(&export, &lab.ensure(&export));
        behind.portal = proxy.address;
        let mut reader = behind.connect();
        fill_up(&mut reader, &proxy, lab.settings.portal.port());
        let still = lab.run(lab.tgt.revoke(export.id, Duration::ZERO)).unwrap();
        assert!(matches!(&still, Revoked::StillConnected(peers) if peers.len() == 1), "{still:?}");
        let found = lab.run(lab.tgt.list()).unwrap();
        assert!(!found[0].open, "nobody is let in any more: {found:?}");
        let error = lab.run(lab.tgt.ensure(&lab.export(2, ReadWrite))).unwrap_err();
        assert!(matches!(error, ExportError::Held { .. }), "{error}");
        assert_eq!(revoke(lab, &export), Revoked::Gone);
    });
}

/// Cuts the wire to a reader once all buffers of it are full: then nothing wakes tgtd to look at the connection that
/// it is told to close.
fn fill_up(reader: &mut Client, proxy: &Proxy, port: u16) {
    reader.perform("read 0 4k");
    proxy.stall_answers();
    for _ in 0..40 {
        reader.send("aio_read 0 8M");
    }
    let (mut before, mut looks) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    while looks < 20 {
        assert!(Instant::now() < deadline, "answers do not pile up");
        std::thread::sleep(Duration::from_millis(10));
        let now = unsent(port);
        looks = if now == before && now > 0 { looks + 1 } else { 0 };
        before = now;
    }
    proxy.cut(true);
}

/// Bytes that wait to be sent from a port on this host.
fn unsent(port: u16) -> u64 {
    let connections = fs::read_to_string("/proc/net/tcp").unwrap();
    let queue = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let is_it = words[1].ends_with(&format!(":{port:04X}"));
        is_it.then(|| u64::from_str_radix(words[4].split(':').next().unwrap(), 16).unwrap())
    };
    connections.lines().skip(1).filter_map(queue).sum()
}

#[test]
fn tgtd_that_was_killed_comes_back_with_everything_and_the_writer_goes_on() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let mut writer = lab.initiator(&export, &lab.ensure(&export)).connect();
        writer.perform("write -P 1 0 4k");
        let pid = lab.process();
        let ended = |patience| lab.run(async { tokio::time::timeout(patience, lab.tgt.ended()).await });
        assert!(ended(Duration::from_millis(100)).is_err(), "it runs");
        kill(pid);
        ended(PATIENCE).unwrap().unwrap();
        writer.send("write -P 2 4k 4k");
        assert_eq!(revoke(lab, &lab.export(9, ReadWrite)), Revoked::Gone, "nothing serves");

        let mut missing = lab.export(3, ReadOnly);
        missing.path = lab.path.join("missing");
        let failed = lab.run(lab.tgt.recover(&[missing.clone(), export.clone()])).unwrap();
        lab.guard();
        assert_eq!(failed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [missing.id]);
        assert_ne!(lab.process(), pid);
        assert!(writer.is_done(PATIENCE), "the write that hung is not finished");
        assert_eq!(lab.content(0, 8192), [[1; 4096], [2; 4096]].concat());
    });
}

#[test]
fn a_power_cut_of_the_storage_host_takes_nothing_that_was_answered() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let mut writer = lab.initiator(&export, &lab.ensure(&export)).connect();
        // Nothing is flushed.
        for write in ["write -P 1 0 64k", "write -P 2 4k 4k", "write -P 3 1M 64k", "write -z -u 1M 4k"] {
            writer.perform(write);
        }
        let left = after_power_cut(&lab.path, &export.path);
        for (offset, expected) in [(0, 1), (4096, 2), (8192, 1), (MIB, 0), (MIB + 4096, 3)] {
            let mut found = [0; 4096];
            left.read_exact_at(&mut found, offset).unwrap();
            assert!(found == [expected; 4096], "at {offset}");
        }
    });
}

#[test]
fn a_unit_that_an_earlier_agent_made_is_made_anew_so_that_its_writes_are_durable() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let source = lab.ensure(&export);
        assert!(is_durable(lab, &export));
        let shown = tgtadm(lab, &["--op", "show", "--mode", "target"]);
        let number = shown.strip_prefix("Target ").unwrap().split(':').next().unwrap();
        let unit = ["--mode", "logicalunit", "--tid", number, "--lun", "1"];
        let change = |words: &[&str]| tgtadm(lab, &[&unit, words].concat());
        let serial = volume(1).to_string().replace('-', "");
        change(&["--op", "delete"]);
        change(&["--op", "new", "--backing-store", export.path.to_str().unwrap()]);
        change(&["--op", "update", "--params", &format!("scsi_sn={serial},thin_provisioning=1")]);
        assert!(!is_durable(lab, &export));
        let mut writer = lab.initiator(&export, &source).connect();
        writer.perform("write -P 1 0 4k");
        lab.tgt = Tgt::new(lab.settings.clone());
        lab.recover(&[&export]);
        assert!(is_durable(lab, &export));
        writer.perform("write -P 2 0 4k");
        assert_eq!(lab.content(0, 4096), [2; 4096]);
    });
}

/// Whether tgtd has an export's file open with `O_SYNC`.
fn is_durable(lab: &Lab, export: &Export) -> bool {
    let process = format!("/proc/{}", lab.process());
    let flags = |number: &str| {
        let shown = fs::read_to_string(format!("{process}/fdinfo/{number}")).unwrap();
        let flags = shown.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        i32::from_str_radix(flags, 8).unwrap()
    };
    let files = fs::read_dir(format!("{process}/fd")).unwrap().flatten();
    let file = files.into_iter().find(|file| fs::read_link(file.path()).is_ok_and(|to| to == export.path));
    flags(file.unwrap().file_name().to_str().unwrap()) & OFlag::O_SYNC.bits() == OFlag::O_SYNC.bits()
}

#[test]
fn the_next_agent_takes_over_the_tgtd_that_runs_with_its_connections() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let mut writer = lab.initiator(&export, &lab.ensure(&export)).connect();
        writer.perform("write -P 1 0 4k");
        let (pid, before) = (lab.process(), lab.run(lab.tgt.list()).unwrap());
        lab.tgt = Tgt::new(lab.settings.clone());
        // It does not name the export that is there.
        lab.recover(&[]);
        lab.recover(&[&export]);
        assert_eq!((lab.process(), lab.run(lab.tgt.list()).unwrap()), (pid, before));
        assert!(!lab.settings.log().with_added_extension("old").exists(), "another one was started");
        writer.perform("write -P 2 0 4k");
        assert_eq!(lab.content(0, 4096), [2; 4096]);
    });
}

/// tgtd never sees the end of a connection to its socket on which nothing was asked, and takes a processor to look for it.
#[test]
fn agents_that_watched_tgtd_leave_no_connection_that_it_goes_on_reading() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let pid = lab.process();
        let socket = lab.settings.run_dir.join("tgt.0");
        let mut writer = lab.initiator(&export, &lab.ensure(&export)).connect();
        for number in 1..4 {
            // The last it met is then "try again", which it takes the end of a connection for.
            writer.perform(&format!("write -P {number} 0 4k"));
            lab.run(async { tokio::time::timeout(Duration::from_millis(50), lab.tgt.ended()).await })
                .unwrap_err();
            lab.tgt = Tgt::new(lab.settings.clone());
            lab.recover(&[&export]);
        }
        let connected = |line: &&str| line.ends_with(socket.to_str().unwrap()) && line.contains(" 03 ");
        let left =
            || fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap().lines().filter(connected).count();
        let deadline = Instant::now() + PATIENCE;
        while left() > 0 {
            assert!(Instant::now() < deadline, "{} connections", left());
            sleep(Duration::from_millis(5));
        }
        assert_eq!(lab.process(), pid);
    });
}

#[test]
fn a_portal_that_is_taken_is_told_and_tgtd_serves_nowhere_else() {
    lab(|lab| {
        let _other = TcpListener::bind(lab.settings.portal).unwrap();
        let error = lab.run(lab.tgt.recover(&[])).unwrap_err().to_string();
        let wanted = lab.settings.portal.to_string();
        assert!(error.starts_with("tgtd does not start: ") && error.contains(&wanted), "{error}");
        assert_eq!(lab.find(), None);
    });
}

#[test]
fn a_socket_that_somebody_removed_does_not_make_a_writer_gone() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let socket = lab.settings.run_dir.join("tgt.0");
        let aside = lab.settings.run_dir.join("aside");
        fs::rename(&socket, &aside).unwrap();
        let error = lab.run(lab.tgt.revoke(export.id, PATIENCE)).unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        fs::rename(&aside, &socket).unwrap();
        assert_eq!(revoke(lab, &export), Revoked::Gone);
    });
}

#[test]
fn secrets_are_in_no_command_line_and_no_log() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let mut writer = lab.initiator(&export, &lab.ensure(&export)).connect();
        writer.perform("write -P 1 0 4k");
        let secret = secret_of(export.id);
        let holds = |path: String| {
            fs::read(path).is_ok_and(|bytes| bytes.windows(secret.len()).any(|one| one == secret.as_bytes()))
        };
        for pid in processes() {
            for file in ["cmdline", "environ"] {
                assert!(!holds(format!("/proc/{pid}/{file}")), "the {file} of {pid}");
            }
        }
        let log = lab.settings.log().display().to_string();
        assert!(fs::metadata(&log).unwrap().len() > 0 && !holds(log));
        assert!(!format!("{export:?} {:?}", lab.tgt).contains(&secret));
    });
}

#[test]
fn a_login_that_passed_its_checks_before_the_revocation_becomes_no_session_after_it() {
    lab(|lab| {
        let first = lab.export(1, ReadWrite);
        lab.recover(&[&first]);
        let initiator = lab.initiator(&first, &lab.ensure(&first));
        assert!(HalfLogin::with(&initiator).finish(), "the way is right");
        let half = HalfLogin::with(&initiator);
        assert_eq!(revoke(lab, &first), Revoked::Gone);
        let second = lab.export(2, ReadWrite);
        lab.ensure(&second);
        assert!(!half.finish());
        let found = lab.run(lab.tgt.list()).unwrap();
        assert!(found.len() == 1 && found[0].connections.is_empty(), "{found:?}");
    });
}

#[test]
fn a_revocation_that_waits_does_not_keep_others_waiting() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let mut other = lab.export(3, ReadWrite);
        other.path = lab.pool.create_volume(volume(2), MIB).unwrap().path;
        let proxy = Proxy::to(lab.settings.portal);
        let mut behind = lab.initiator(&export, &lab.ensure(&export));
        behind.portal = proxy.address;
        let mut reader = behind.connect();
        let ensured = lab.run(async {
            fill_up(&mut reader, &proxy, lab.settings.portal.port());
            let revocation = lab.tgt.revoke(export.id, PATIENCE);
            tokio::pin!(revocation);
            // Polled first, and without its end.
            tokio::select! {
                biased;
                ended = &mut revocation => panic!("{ended:?}"),
                ensured = lab.tgt.ensure(&other) => ensured.unwrap(),
            }
        });
        lab.initiator(&other, &ensured).opens();
        assert_eq!(revoke(lab, &export), Revoked::Gone);
    });
}

#[test]
fn the_log_of_tgtd_stays_short() {
    lab(|lab| {
        lab.recover(&[]);
        let log = lab.settings.log();
        fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(&vec![b'x'; 2 << 20]).unwrap();
        lab.run(lab.tgt.list()).unwrap();
        assert!(fs::metadata(&log).unwrap().len() > 2 << 20, "whoever looks changes nothing");
        lab.run(lab.tgt.ensure_all(&[])).unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), 0);
        let export = lab.export(1, ReadWrite);
        lab.ensure(&export);
        let said = fs::read(&log).unwrap();
        assert!(!said.is_empty() && said.len() < 4096 && !said.contains(&0), "tgtd writes on from the start");
    });
}

#[test]
fn a_log_that_cannot_be_shortened_keeps_no_export_from_being_opened() {
    lab(|lab| {
        lab.recover(&[]);
        let log = lab.settings.log();
        fs::remove_file(&log).unwrap();
        fs::create_dir(&log).unwrap();
        let opened = lab.run(lab.tgt.ensure_all(&[lab.export(1, ReadWrite)])).unwrap();
        assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    });
}

#[test]
fn what_tgtd_cannot_carry_and_other_content_of_one_export_is_refused() {
    lab(|lab| {
        let export = lab.export(1, ReadWrite);
        lab.recover(&[&export]);
        let refusal = |change: &dyn Fn(&mut Export)| {
            let mut other = export.clone();
            change(&mut other);
            lab.run(lab.tgt.ensure(&other)).unwrap_err().to_string()
        };
        let id = export.id;
        for (refusal, expected) in [
            (
                refusal(&|one| one.credential.secret = "short".into()),
                format!("{id}: secret must be 12 to 200 letters and digits"),
            ),
            (
                refusal(&|one| one.credential.secret = "a,password=other1".into()),
                format!("{id}: secret must be 12 to 200 letters and digits"),
            ),
            (
                refusal(&|one| one.path = "/pool/a,b".into()),
                format!("{id}: path must be absolute, below 1024 bytes of UTF-8, without comma and line end"),
            ),
            (
                refusal(&|one| one.path = "/pool/other".into()),
                format!("{id} is there with another file: {}", export.path.display()),
            ),
            (refusal(&|one| one.access = ReadOnly), format!("{id} is there with another access: read-write")),
        ] {
            assert_eq!(refusal, expected);
        }
        lab.initiator(&export, &lab.ensure(&export)).opens();
    });
}

#[test]
fn a_thousand_exports_are_there_again() {
    lab(|lab| {
        let exports: Vec<_> = (1..=1000)
            .map(|number| {
                let mut export = lab.export(number, ReadWrite);
                export.path = lab.path.join(format!("{number}.raw"));
                fs::File::create(&export.path).unwrap().set_len(MIB).unwrap();
                export
            })
            .collect();
        let all: Vec<_> = exports.iter().collect();
        // Made, and taken over by the next agent.
        for _ in 0..2 {
            lab.recover(&all);
        }
        let found = lab.run(lab.tgt.list()).unwrap();
        assert_eq!(found.iter().filter(|found| found.open).count(), 1000);
        assert_eq!(revoke(lab, &exports[500]), Revoked::Gone);
        lab.initiator(&exports[999], &lab.ensure(&exports[999])).opens();
    });
}
