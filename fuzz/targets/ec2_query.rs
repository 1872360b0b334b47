//! Any text is a request's parameters or is refused; nothing panics.

pub(crate) fn run(query: &[u8]) {
    if let Ok(query) = std::str::from_utf8(query) {
        tepui_ec2::check_query(query);
    }
}
