-- Copies of snapshots.

-- What a copy was made of, and where that was; it may be gone. The volume of a copy is one that never was.
ALTER TABLE snapshot ADD COLUMN copy_of BLOB;
ALTER TABLE snapshot ADD COLUMN copy_pool_id BLOB CHECK ((copy_pool_id IS NULL) = (copy_of IS NULL));
CREATE INDEX snapshot_being_copied ON snapshot (copy_of) WHERE state = 'pending' AND copy_of IS NOT NULL;

-- Who else may see a snapshot, and make volumes and copies of it: everybody, or these projects.
ALTER TABLE snapshot ADD COLUMN public INTEGER NOT NULL DEFAULT 0;
CREATE INDEX snapshot_public ON snapshot (id) WHERE public;
CREATE TABLE snapshot_share (
    snapshot_id BLOB NOT NULL REFERENCES snapshot ON DELETE CASCADE,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    PRIMARY KEY (snapshot_id, project_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_share_project ON snapshot_share (project_id);

-- Rules by which snapshots are taken.
CREATE TABLE snapshot_schedule (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    tag_key TEXT NOT NULL,
    tag_value TEXT NOT NULL,
    every_seconds INTEGER NOT NULL CHECK (every_seconds > 0),
    keep INTEGER NOT NULL CHECK (keep > 0),
    next_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_schedule_project ON snapshot_schedule (project_id);
CREATE INDEX snapshot_schedule_due ON snapshot_schedule (next_at);
-- What made it. A snapshot outlives its schedule, so that this is no reference.
ALTER TABLE snapshot ADD COLUMN schedule_id BLOB;
CREATE INDEX snapshot_scheduled ON snapshot (schedule_id) WHERE schedule_id IS NOT NULL;
