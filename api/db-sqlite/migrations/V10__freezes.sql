-- Snapshots that are taken while the file systems of their guest hold still.

-- A guest that holds still, or is to. The row goes when that is over.
CREATE TABLE freeze (
    id BLOB PRIMARY KEY,
    placement_id BLOB NOT NULL UNIQUE REFERENCES placement (id) ON DELETE CASCADE,
    stage TEXT NOT NULL CHECK (stage IN ('freezing', 'frozen', 'thawing')),
    asked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far the snapshot's freeze is, or was; NULL of one that is taken without.
ALTER TABLE snapshot ADD COLUMN freeze TEXT CHECK (freeze IN ('waiting', 'taking', 'taken', 'held'));
-- The freeze that a pending snapshot waits for. It is no reference: a snapshot whose freeze is lost fails by it.
ALTER TABLE snapshot ADD COLUMN freeze_id BLOB;
CREATE INDEX snapshot_frozen ON snapshot (freeze_id) WHERE freeze_id IS NOT NULL;
