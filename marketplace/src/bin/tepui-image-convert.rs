//! `tepui-image-convert SOURCE TARGET VIRTUAL_BYTES`: confines itself and becomes `qemu-img convert`.
//! A program of its own, so that the sandbox is entered before any other thread exists.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let paths = (arguments.next().map(PathBuf::from), arguments.next().map(PathBuf::from));
    let bytes = arguments.next().and_then(|bytes| bytes.to_str().and_then(|text| text.parse().ok()));
    let ((Some(source), Some(target)), Some(bytes), None) = (paths, bytes, arguments.next()) else {
        eprintln!("usage: tepui-image-convert SOURCE TARGET VIRTUAL_BYTES");
        return ExitCode::from(2);
    };
    let error = tepui_marketplace::sandbox::exec_convert(&source, &target, bytes);
    let mut cause: Option<&dyn Error> = Some(&error);
    while let Some(error) = cause {
        eprintln!("{error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}
