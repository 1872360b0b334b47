-- Instances that boot from a volume: they have a place only while they are not stopped, and a new one each time.

-- It boots from a volume; its root disk is not on its host.
ALTER TABLE instance ADD COLUMN volume_root INTEGER NOT NULL DEFAULT 0;
CREATE INDEX instance_leaving ON instance (n) WHERE state = 'stopping' AND volume_root;

-- The image that a volume is made from, which its host has to bring until it is made.
ALTER TABLE volume ADD COLUMN image_digest BLOB;
ALTER TABLE volume ADD COLUMN image_bytes INTEGER;
CREATE INDEX volume_image_wanted ON volume (image_digest) WHERE state = 'creating' AND image_digest IS NOT NULL;

-- is_root: the instance boots from it. An export may go without its attachment, whose instance is then in no place:
-- from closing it becomes closed. The table is made anew because SQLite changes no CHECK.
CREATE TABLE new_attachment (
    volume_id BLOB PRIMARY KEY REFERENCES volume,
    id BLOB NOT NULL UNIQUE,
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
    is_root INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO new_attachment (volume_id, id, project_id, instance_n, device, delete_on_termination, state, since,
                            export_id, placement_id, wrapped_secret, export_state, source, message, guest_gib,
                            guest_iops, guest_throughput_mib)
SELECT volume_id, id, project_id, instance_n, device, delete_on_termination, state, since,
       export_id, placement_id, wrapped_secret, export_state, source, message, guest_gib,
       guest_iops, guest_throughput_mib FROM attachment;
DROP TABLE attachment;
ALTER TABLE new_attachment RENAME TO attachment;
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
