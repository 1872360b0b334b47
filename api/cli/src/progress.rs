//! Progress on standard error: one live line for the stage in work and one line for each that is
//! done; without a terminal one line for each change.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::output::printable;

/// How often the live line moves.
const TICK: Duration = Duration::from_millis(120);

/// The stages of one piece of work.
pub struct Progress<'a> {
    err: &'a mut (dyn Write + Send),
    go_on: &'a mut Option<String>,
    bar: ProgressBar,
    silent: bool,
    stage: Option<Stage>,
}

struct Stage {
    name: String,
    detail: String,
    since: Instant,
}

impl<'a> Progress<'a> {
    /// No stage yet. A silent one only keeps `go_on`, which is said after Ctrl-C.
    pub fn new(
        err: &'a mut (dyn Write + Send),
        go_on: &'a mut Option<String>,
        target: fn() -> ProgressDrawTarget,
        silent: bool,
    ) -> Self {
        let target = if silent { ProgressDrawTarget::hidden() } else { target() };
        let bar = ProgressBar::with_draw_target(None, target).with_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(TICK);
        Self { err, go_on, bar, silent, stage: None }
    }

    /// What to say after Ctrl-C from now on.
    pub fn go_on(&mut self, text: String) {
        *self.go_on = Some(text);
    }

    /// Enters a stage, which ends the one before. Entering the current stage again with the same
    /// detail says nothing.
    pub fn stage(&mut self, name: &str, detail: &str) {
        match &mut self.stage {
            Some(stage) if stage.name == name && stage.detail == detail => return,
            Some(stage) if stage.name == name => detail.clone_into(&mut stage.detail),
            Some(_) | None => self.enter(name, detail),
        }
        self.bar.set_message(line(name, detail));
        if self.bar.is_hidden() && !self.silent {
            let _ = writeln!(self.err, "{}", line(name, detail).trim_end());
        }
    }

    /// Replaces the live line's text only: for what changes many times a second.
    pub fn live(&mut self, detail: &str) {
        if let Some(stage) = &self.stage {
            self.bar.set_message(line(&stage.name, detail));
        }
    }

    /// The last stage is done, and nothing is left to go on with.
    pub fn done(mut self) {
        self.leave();
        *self.go_on = None;
    }

    fn enter(&mut self, name: &str, detail: &str) {
        self.leave();
        self.stage = Some(Stage { name: name.into(), detail: detail.into(), since: Instant::now() });
    }

    fn leave(&mut self) {
        let Some(stage) = self.stage.take() else { return };
        let took = format!("{:.1} s", stage.since.elapsed().as_secs_f32());
        if !self.bar.is_hidden() {
            self.bar.println(format!("  {}{took}", line(&stage.name, &stage.detail)));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn line(name: &str, detail: &str) -> String {
    format!("{:<10} {:<48} ", printable(name), printable(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_each_change_is_one_line() {
        let (mut text, mut go_on) = (Vec::new(), None);
        let mut progress = Progress::new(&mut text, &mut go_on, ProgressDrawTarget::hidden, false);
        progress.stage("placed", "node-1");
        progress.stage("placed", "node-1");
        progress.stage("image", "fetching");
        progress.stage("image", "ready");
        progress.live("never printed");
        progress.done();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "placed     node-1\nimage      fetching\nimage      ready\n"
        );
    }
}
