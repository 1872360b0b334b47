//! `tepui-image-convert SOURCE TARGET VIRTUAL_BYTES`: runs `qemu-img convert` in a sandbox. A program of
//! its own, so that the sandbox is entered before any other thread exists.

use std::env;
use std::error::Error;
use std::ffi::OsString;

use std::process::{Command, ExitCode};

use tepui_marketplace::sandbox::{SandboxError, exec_convert, supervise};

/// First argument of the process that this program starts to be confined.
const CONFINED: &str = "--confined";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let error = match arguments.as_slice() {
        [flag, source, target, bytes] if flag == CONFINED => {
            match bytes.to_str().and_then(|text| text.parse().ok()) {
                Some(bytes) => exec_convert(source.as_ref(), target.as_ref(), bytes),
                None => return usage(),
            }
        }
        [_, _, _] => match supervised(&arguments) {
            Ok(code) => return code,
            Err(error) => error,
        },
        _ => return usage(),
    };
    let mut cause: Option<&dyn Error> = Some(&error);
    while let Some(error) = cause {
        eprintln!("{error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}

fn supervised(arguments: &[OsString]) -> Result<ExitCode, SandboxError> {
    let own = env::current_exe().map_err(SandboxError::Start)?;
    let status = supervise(Command::new(own).arg(CONFINED).args(arguments))?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("the confined process: {status}");
    Ok(ExitCode::FAILURE)
}

fn usage() -> ExitCode {
    eprintln!("usage: tepui-image-convert SOURCE TARGET VIRTUAL_BYTES");
    ExitCode::from(2)
}
