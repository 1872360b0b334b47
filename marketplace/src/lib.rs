//! Images: hostile-header inspection, sandboxed conversion, the content-addressed store, guarded fetch.
