-- Removed volumes and snapshots, whose files their hosts keep until they are told to unlink them; and volumes that end.

-- id: of a volume or snapshot that is in the books no more. project_id: whose it was, which may be gone; NULL of what its
-- host found in a trash. ordered: its host is told to unlink it.
CREATE TABLE quarantine (
    id TEXT PRIMARY KEY,
    pool_id BLOB NOT NULL REFERENCES pool,
    project_id INTEGER,
    removed_at INTEGER NOT NULL,
    ordered INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX quarantine_pool ON quarantine (pool_id);

-- A volume is deleted at this time, after a warning. warned_seconds: the time that passed since the warning while a control
-- plane watched; NULL before it.
CREATE TABLE volume_end (
    volume_id BLOB PRIMARY KEY REFERENCES volume ON DELETE CASCADE,
    at INTEGER NOT NULL,
    warns_at INTEGER NOT NULL CHECK (warns_at <= at),
    warned_seconds INTEGER CHECK (warned_seconds >= 0),
    set_by BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX volume_end_warns ON volume_end (warns_at);
