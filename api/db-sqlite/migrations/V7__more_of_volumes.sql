-- Scratch and swap disks of instances, on the hosts of their places.

-- 0 is none. A live placement takes them of its node's disk.
ALTER TABLE instance ADD COLUMN scratch_gib INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instance ADD COLUMN swap_gib INTEGER NOT NULL DEFAULT 0;

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

-- Volumes that nobody writes, which many instances may have at once.

ALTER TABLE volume ADD COLUMN read_only INTEGER NOT NULL DEFAULT 0 CHECK (read_only IN (0, 1));
-- What attachments refer to. It changes only while there is none: a volume has one writer, or readers alone.
CREATE UNIQUE INDEX volume_access ON volume (id, read_only);

ALTER TABLE volume_modification ADD COLUMN original_read_only INTEGER NOT NULL DEFAULT 0;
ALTER TABLE volume_modification ADD COLUMN target_read_only INTEGER NOT NULL DEFAULT 0;

-- One of a volume that is written: the row stays until its export is fenced, and keeps the volume from every other
-- instance until then. Of a volume that is read only one for each instance. The table is made anew because SQLite
-- changes no primary key.
CREATE TABLE new_attachment (
    id BLOB PRIMARY KEY,
    volume_id BLOB NOT NULL,
    read_only INTEGER NOT NULL,
    project_id INTEGER NOT NULL REFERENCES project,
    instance_n INTEGER NOT NULL REFERENCES instance,
    device TEXT NOT NULL,
    delete_on_termination INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('attaching', 'attached', 'detaching')),
    since INTEGER NOT NULL,
    export_id BLOB NOT NULL UNIQUE,
    placement_id BLOB NOT NULL,
    wrapped_secret BLOB NOT NULL,
    export_state TEXT NOT NULL CHECK (export_state IN ('making', 'open', 'closing', 'closed')),
    source TEXT,
    message TEXT,
    guest_gib INTEGER NOT NULL DEFAULT 0,
    guest_iops INTEGER NOT NULL DEFAULT 0,
    guest_throughput_mib INTEGER NOT NULL DEFAULT 0,
    is_root INTEGER NOT NULL DEFAULT 0,
    FOREIGN KEY (volume_id, read_only) REFERENCES volume (id, read_only),
    CHECK (NOT (is_root AND read_only))
) STRICT, WITHOUT ROWID;
INSERT INTO new_attachment (id, volume_id, read_only, project_id, instance_n, device, delete_on_termination, state, since,
                            export_id, placement_id, wrapped_secret, export_state, source, message, guest_gib,
                            guest_iops, guest_throughput_mib, is_root)
SELECT id, volume_id, 0, project_id, instance_n, device, delete_on_termination, state, since,
       export_id, placement_id, wrapped_secret, export_state, source, message, guest_gib,
       guest_iops, guest_throughput_mib, is_root FROM attachment;
DROP TABLE attachment;
ALTER TABLE new_attachment RENAME TO attachment;
CREATE UNIQUE INDEX attachment_writer ON attachment (volume_id) WHERE NOT read_only;
CREATE UNIQUE INDEX attachment_instance ON attachment (volume_id, instance_n);
-- The guest orders its disks by the letter at the end: /dev/sdf and /dev/vdf are one place.
CREATE UNIQUE INDEX attachment_place ON attachment (instance_n, substr(device, -1));
CREATE UNIQUE INDEX attachment_root ON attachment (instance_n) WHERE is_root;
CREATE INDEX attachment_project ON attachment (project_id);
CREATE INDEX attachment_placement ON attachment (placement_id);

-- Instances show their volumes: a change of these is a change of the project's instances.
CREATE TRIGGER attachment_insert_counts AFTER INSERT ON attachment BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER attachment_update_counts AFTER UPDATE ON attachment BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER attachment_delete_counts AFTER DELETE ON attachment BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = OLD.project_id;
END;

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
