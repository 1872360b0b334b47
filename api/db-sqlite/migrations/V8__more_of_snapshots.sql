-- Snapshots that are made from images.

-- The image that a snapshot is made from, which its host has to bring until it is there.
ALTER TABLE snapshot ADD COLUMN image_digest BLOB;
ALTER TABLE snapshot ADD COLUMN image_bytes INTEGER;
CREATE INDEX snapshot_image_wanted ON snapshot (image_digest) WHERE state = 'pending' AND image_digest IS NOT NULL;
-- Tests of snapshots, and schedules whose guests hold still.

-- A test that is ordered. The row goes with the word of the snapshot's host of what came of it.
CREATE TABLE snapshot_test (
    id BLOB PRIMARY KEY,
    snapshot_id BLOB NOT NULL UNIQUE REFERENCES snapshot ON DELETE CASCADE,
    ordered_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What tests of a snapshot found. digest: that of the first that could read it; no later one may find another.
-- failure: of the last one, NULL if that passed.
CREATE TABLE snapshot_tested (
    snapshot_id BLOB PRIMARY KEY REFERENCES snapshot ON DELETE CASCADE,
    tested_at INTEGER NOT NULL,
    digest BLOB,
    failure TEXT,
    CHECK (digest IS NOT NULL OR failure IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- From one test of the newest snapshots to the next, and when that is due. tested_at: the last end of a test.
ALTER TABLE snapshot_schedule ADD COLUMN test_seconds INTEGER CHECK (test_seconds >= every_seconds);
ALTER TABLE snapshot_schedule ADD COLUMN test_at INTEGER CHECK ((test_at IS NULL) = (test_seconds IS NULL));
ALTER TABLE snapshot_schedule ADD COLUMN tested_at INTEGER;
CREATE INDEX snapshot_schedule_test_due ON snapshot_schedule (test_at) WHERE test_at IS NOT NULL;
-- Guests hold still for its snapshots where they can. freeze_failure: why one did not the last time; NULL if all did.
ALTER TABLE snapshot_schedule ADD COLUMN freeze INTEGER NOT NULL DEFAULT 0 CHECK (freeze IN (0, 1));
ALTER TABLE snapshot_schedule ADD COLUMN freeze_failure TEXT;
