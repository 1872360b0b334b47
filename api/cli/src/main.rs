//! The command line of Tepui.

fn main() {}
