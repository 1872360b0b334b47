//! What is wrong, and what helps.

use std::fmt::Write as _;

use clap::Args;
use tepui_types::endpoint::{FixFindings, RunDoctor, Whoami};
use tepui_types::rest::{CheckOutcome, DoctorCheck, DoctorReport, Empty, Identity};

use super::Finish;
use crate::exit::Exit;
use crate::failure::Result;
use crate::output::{Format, printable};
use crate::session::Session;

/// Options of the doctor.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Only what is not as it should be
    #[arg(long)]
    problems: bool,
    /// First put right what risks nothing: never a guest or a disk
    #[arg(long)]
    fix: bool,
}

/// Runs all checks. The exit code is 1 when one fails; warnings alone leave it 0.
///
/// # Errors
/// The cloud did not answer or refused: that is the finding then.
pub async fn run(doctor: Doctor, session: &mut Session) -> Result<Finish> {
    let identity = session.call::<Whoami>(&[], &Empty {}).await?;
    let mut report = match doctor.fix {
        true => session.call::<FixFindings>(&[], &Empty {}).await?,
        false => session.call::<RunDoctor>(&[], &Empty {}).await?,
    };
    report.checks.insert(0, reached(session.url()?, &identity));
    let failed = report.checks.iter().any(|check| check.outcome == CheckOutcome::Fail);
    report.checks.retain(|check| !doctor.problems || check.outcome != CheckOutcome::Pass);
    print(&report, session)?;
    Ok(Finish::Exit(if failed { Exit::Failed } else { Exit::Ok }))
}

/// The one check that only this side can make.
fn reached(url: &str, identity: &Identity) -> DoctorCheck {
    DoctorCheck {
        name: "cloud".into(),
        outcome: CheckOutcome::Pass,
        message: format!("{url} answers {} in project {}", identity.user.name, identity.project.name),
        cure: None,
        fixable: false,
    }
}

fn print(report: &DoctorReport, session: &mut Session) -> Result<()> {
    match session.format {
        Format::Json(_) => session.object(report),
        Format::Ids => {
            let failed = report.checks.iter().filter(|check| check.outcome == CheckOutcome::Fail);
            let text: String = failed.map(|check| printable(&check.name) + "\n").collect();
            session.print(&text)
        }
        Format::Table { .. } | Format::Tabs => session.print(&lines(report)),
    }
}

/// What was put right, then one line a check, the cure under it.
fn lines(report: &DoctorReport) -> String {
    let fixed = report.fixed.iter().map(|fixed| format!("FIXED {}\n", printable(fixed))).collect();
    report.checks.iter().fold(fixed, |mut text: String, check| {
        let mark = match check.outcome {
            CheckOutcome::Pass => "PASS",
            CheckOutcome::Warn => "WARN",
            CheckOutcome::Fail => "FAIL",
        };
        let _ = writeln!(text, "{mark}  {}: {}", printable(&check.name), printable(&check.message));
        for line in check.cure.iter().flat_map(|cure| cure.lines()) {
            let _ = writeln!(text, "      try: {}", printable(line));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_a_line_with_its_cure_under_it() {
        let check = |name: &str, outcome, cure: Option<&str>| DoctorCheck {
            name: name.into(),
            outcome,
            message: "3 of 3".into(),
            cure: cure.map(Into::into),
            fixable: false,
        };
        let checks = vec![
            check("placements of node-1", CheckOutcome::Pass, None),
            check("disks of node-1", CheckOutcome::Warn, Some("wait an hour: the sweep removes them")),
            check("node-2", CheckOutcome::Fail, Some("tepui node show node-2\nsystemctl restart tepui-node")),
        ];
        let fixed = vec!["node node-3: counts 3 vCPUs, its placements take 2".to_owned()];
        insta::assert_snapshot!(lines(&DoctorReport { checks, fixed }));
    }
}
