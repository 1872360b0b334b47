//! Typing that the terminal does not show.

use std::io::stdin;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// While it lives the terminal at standard input echoes nothing; also an interrupt drops it.
pub(crate) struct Hidden(Option<Termios>);

impl Hidden {
    /// Without a terminal there is nothing to hide.
    pub(crate) fn begin() -> Self {
        let Ok(before) = tcgetattr(stdin()) else { return Self(None) };
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        Self(tcsetattr(stdin(), SetArg::TCSANOW, &silent).is_ok().then_some(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // There is nobody to tell if it fails.
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, before);
        }
    }
}
