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

-- Moves of volumes to other pools, and pools whose volumes go to others.

-- Nobody's but the move's whose volume's content it holds: no project sees it.
ALTER TABLE snapshot ADD COLUMN of_move INTEGER NOT NULL DEFAULT 0 CHECK (of_move IN (0, 1));
-- What a drained pool holds, and nobody uses, goes to other pools of its class.
ALTER TABLE pool ADD COLUMN moves_out INTEGER NOT NULL DEFAULT 0 CHECK (moves_out IN (0, 1));

-- source_id: a snapshot of the volume in the pool that it leaves. target_id: its copy in the pool that it goes to. Neither is
-- a reference: the source is made with the move and the copy later, and a host that is given up takes them with it. A move that
-- failed stays until the volume is asked to move again, or is used. since: when the stage began.
CREATE TABLE volume_move (
    volume_id BLOB PRIMARY KEY REFERENCES volume,
    from_pool BLOB NOT NULL REFERENCES pool,
    to_pool BLOB NOT NULL REFERENCES pool,
    stage TEXT NOT NULL CHECK (stage IN ('copying', 'leaving', 'arriving', 'failed')),
    source_id BLOB NOT NULL UNIQUE,
    target_id BLOB NOT NULL UNIQUE,
    by_drain INTEGER NOT NULL,
    since INTEGER NOT NULL,
    message TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX volume_move_from ON volume_move (from_pool);
CREATE INDEX volume_move_to ON volume_move (to_pool);

-- Nothing may be written that is in neither of the two places.
CREATE TRIGGER what_moves_is_not_used BEFORE INSERT ON attachment
WHEN EXISTS (SELECT 1 FROM volume_move WHERE volume_id = NEW.volume_id) BEGIN
    SELECT raise(ABORT, 'a volume that moves has no instance');
END;
CREATE TRIGGER what_is_used_does_not_move BEFORE INSERT ON volume_move
WHEN EXISTS (SELECT 1 FROM attachment WHERE volume_id = NEW.volume_id) BEGIN
    SELECT raise(ABORT, 'a volume that an instance has does not move');
END;
DROP TRIGGER volume_stays;
CREATE TRIGGER volume_stays BEFORE UPDATE OF project_id ON volume BEGIN
    SELECT raise(ABORT, 'a volume never changes its project');
END;
CREATE TRIGGER volume_moves BEFORE UPDATE OF pool_id ON volume
WHEN NEW.pool_id <> OLD.pool_id AND NOT EXISTS
    (SELECT 1 FROM volume_move m WHERE m.volume_id = OLD.id AND m.stage IN ('leaving', 'arriving')
         AND NEW.pool_id IN (m.from_pool, m.to_pool)) BEGIN
    SELECT raise(ABORT, 'a volume changes its pool by a move alone');
END;

-- A volume that moved twice may lie in the trash of two pools.
CREATE TABLE new_quarantine (
    id TEXT NOT NULL,
    pool_id BLOB NOT NULL REFERENCES pool,
    project_id INTEGER,
    removed_at INTEGER NOT NULL,
    ordered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id, pool_id)
) STRICT, WITHOUT ROWID;
INSERT INTO new_quarantine (id, pool_id, project_id, removed_at, ordered)
SELECT id, pool_id, project_id, removed_at, ordered FROM quarantine;
DROP TABLE quarantine;
ALTER TABLE new_quarantine RENAME TO quarantine;
CREATE INDEX quarantine_pool ON quarantine (pool_id);

-- Snapshots of local root disks: the placement that has the disk. A snapshot outlives it, so that this is no reference.
ALTER TABLE snapshot ADD COLUMN root_of BLOB;
