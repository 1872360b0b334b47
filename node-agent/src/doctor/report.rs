//! The findings, as `tepui doctor` has them too: one line a check, the cure under it.

use std::fmt::Write as _;

use tepui_types::rest::{CheckOutcome, DoctorCheck, DoctorReport};

use super::{Examination, Finding, Severity, Subject, exports, volumes};

const SUBJECTS: [(Subject, &str); 8] = [
    (Subject::Ledger, "ledger"),
    (Subject::Guests, "guests"),
    (Subject::Processes, "processes"),
    (Subject::Disks, "disks"),
    (Subject::Network, "network"),
    (Subject::Volumes, "volumes"),
    (Subject::Secrets, "secrets"),
    (Subject::Exports, "exports"),
];

/// The report of an examination, after `fixed` was put right.
pub fn report(examination: &Examination, fixed: Vec<String>) -> DoctorReport {
    let checks = SUBJECTS.iter().flat_map(|(subject, name)| {
        let found = examination.findings.iter().filter(|finding| finding.subject == *subject);
        let found: Vec<_> = found.map(shown).collect();
        if found.is_empty() { vec![passed(name, *subject, examination)] } else { found }
    });
    DoctorReport { checks: checks.collect(), fixed }
}

fn shown(finding: &Finding) -> DoctorCheck {
    DoctorCheck {
        name: finding.object.clone(),
        outcome: match finding.severity {
            Severity::Warning => CheckOutcome::Warn,
            Severity::Failure => CheckOutcome::Fail,
        },
        message: finding.what.clone(),
        cure: Some(finding.cure.clone()),
        fixable: finding.fix.is_some(),
    }
}

fn passed(name: &str, subject: Subject, examination: &Examination) -> DoctorCheck {
    let (books, inventory) = (&examination.books, &examination.inventory);
    let message = match subject {
        Subject::Ledger => format!("{} parts are whole", books.wanted.parts.len()),
        Subject::Guests => {
            let count = inventory.domains.as_ref().map_or(0, std::collections::BTreeMap::len);
            format!("{count} domains are as wanted")
        }
        Subject::Processes => match &inventory.processes {
            Some(processes) => format!("{} guests have one each", processes.len()),
            None => "guests have none here".to_owned(),
        },
        Subject::Disks => format!("{} files are accounted for", inventory.disks.ages.len()),
        Subject::Network => format!("{} VPCs are as wanted", books.wanted.vpcs.len()),
        Subject::Volumes => {
            format!("{} are disks of guests as wanted", volumes::count(inventory.volumes.as_ref()))
        }
        Subject::Secrets => {
            format!("{} are guests'", inventory.secrets.as_ref().map_or(0, std::collections::BTreeMap::len))
        }
        Subject::Exports => format!("{} are open as wanted", exports::count(books)),
    };
    DoctorCheck { name: name.to_owned(), outcome: CheckOutcome::Pass, message, cure: None, fixable: false }
}

/// For people.
pub fn lines(report: &DoctorReport) -> String {
    let fixed: String = report.fixed.iter().map(|fixed| format!("FIXED {fixed}\n")).collect();
    report.checks.iter().fold(fixed, |mut text, check| {
        let mark = match check.outcome {
            CheckOutcome::Pass => "PASS",
            CheckOutcome::Warn => "WARN",
            CheckOutcome::Fail => "FAIL",
        };
        let _ = writeln!(text, "{mark}  {}: {}", check.name, check.message);
        if let Some(cure) = &check.cure {
            let _ = writeln!(text, "      try: {cure}");
        }
        text
    })
}
