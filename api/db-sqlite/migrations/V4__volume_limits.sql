-- Limits of what a guest may do with a volume; 0 is none. No volume has one yet, and one without is said to hosts as
-- before: no part changes.

ALTER TABLE volume ADD COLUMN iops INTEGER NOT NULL DEFAULT 0 CHECK (iops >= 0);
ALTER TABLE volume ADD COLUMN throughput_mib INTEGER NOT NULL DEFAULT 0 CHECK (throughput_mib >= 0);

-- What the guest's host holds the guest to.
ALTER TABLE attachment ADD COLUMN guest_iops INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attachment ADD COLUMN guest_throughput_mib INTEGER NOT NULL DEFAULT 0;

-- A modification may leave the size as it is now, and SQLite cannot take a CHECK away.
CREATE TABLE growth AS SELECT * FROM volume_modification;
DROP TABLE volume_modification;
CREATE TABLE volume_modification (
    volume_id BLOB PRIMARY KEY REFERENCES volume ON DELETE CASCADE,
    original_gib INTEGER NOT NULL,
    target_gib INTEGER NOT NULL CHECK (target_gib >= original_gib),
    original_iops INTEGER NOT NULL,
    target_iops INTEGER NOT NULL,
    original_throughput_mib INTEGER NOT NULL,
    target_throughput_mib INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO volume_modification
SELECT volume_id, original_gib, target_gib, 0, 0, 0, 0, started_at, ended_at FROM growth;
DROP TABLE growth;

-- An instance's record has the sizes and limits of its volumes.
DROP TRIGGER volume_size_counts;
CREATE TRIGGER volume_change_counts AFTER UPDATE OF actual_gib, iops, throughput_mib ON volume BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
