-- Pools, volumes, attachments, snapshots.

ALTER TABLE project ADD COLUMN quota_volumes INTEGER NOT NULL DEFAULT 5000;
ALTER TABLE project ADD COLUMN quota_volume_gib INTEGER NOT NULL DEFAULT 51200;
-- They count volumes until their bytes are gone, with the size that is wanted. Only triggers write them.
ALTER TABLE project ADD COLUMN used_volumes INTEGER NOT NULL DEFAULT 0 CHECK (used_volumes >= 0);
ALTER TABLE project ADD COLUMN used_volume_gib INTEGER NOT NULL DEFAULT 0 CHECK (used_volume_gib >= 0);

-- Nodes that have or had a pool. generation counts the changes of the node's storage part; it outlives the
-- pools, so that a node never sees an old number again.
CREATE TABLE storage_host (
    node_id BLOB PRIMARY KEY REFERENCES node,
    generation INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;

CREATE TABLE pool (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    class TEXT NOT NULL,
    backend TEXT NOT NULL CHECK (backend IN ('iscsi', 'nfs', 'local')),
    node_id BLOB NOT NULL REFERENCES storage_host,
    path TEXT NOT NULL,
    soft_percent INTEGER NOT NULL CHECK (soft_percent BETWEEN 1 AND 100),
    hard_percent INTEGER NOT NULL CHECK (hard_percent BETWEEN soft_percent AND 100),
    draining INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (node_id, path)
) STRICT, WITHOUT ROWID;

-- A snapshot's volume may be gone. A volume that is being made from a snapshot needs it; later it does not,
-- so that this is no reference.
CREATE TABLE snapshot (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project,
    pool_id BLOB NOT NULL REFERENCES pool,
    volume_id BLOB NOT NULL,
    size_gib INTEGER NOT NULL,
    description TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'completed', 'deleting', 'error')),
    message TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_project ON snapshot (project_id);
CREATE INDEX snapshot_pool ON snapshot (pool_id);
CREATE INDEX snapshot_pending ON snapshot (volume_id) WHERE state = 'pending';

CREATE TABLE volume (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project,
    pool_id BLOB NOT NULL REFERENCES pool,
    size_gib INTEGER NOT NULL CHECK (size_gib > 0),
    actual_gib INTEGER NOT NULL,
    snapshot_id BLOB,
    state TEXT NOT NULL CHECK (state IN ('creating', 'available', 'deleting', 'error')),
    message TEXT,
    created_at INTEGER NOT NULL,
    token TEXT,
    parameters_sha256 BLOB,
    CHECK ((token IS NULL) = (parameters_sha256 IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX volume_project ON volume (project_id);
CREATE INDEX volume_pool ON volume (pool_id);
CREATE INDEX volume_being_made ON volume (snapshot_id) WHERE state = 'creating' AND snapshot_id IS NOT NULL;
CREATE UNIQUE INDEX volume_token ON volume (project_id, token) WHERE token IS NOT NULL;

-- One of a volume: it has one writer. The row stays until its export is fenced, and keeps the volume
-- from every other instance until then.
CREATE TABLE attachment (
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
    export_state TEXT NOT NULL CHECK (export_state IN ('making', 'open', 'closing')),
    source TEXT,
    message TEXT,
    CHECK (export_state <> 'closing' OR state = 'detaching')
) STRICT, WITHOUT ROWID;
-- The guest orders its disks by the letter at the end: /dev/sdf and /dev/vdf are one place.
CREATE UNIQUE INDEX attachment_place ON attachment (instance_n, substr(device, -1));
CREATE INDEX attachment_project ON attachment (project_id);
CREATE INDEX attachment_placement ON attachment (placement_id);

-- A project's sums follow its volumes.
CREATE TRIGGER volume_added AFTER INSERT ON volume BEGIN
    UPDATE project SET used_volumes = used_volumes + 1, used_volume_gib = used_volume_gib + NEW.size_gib
    WHERE id = NEW.project_id;
END;
CREATE TRIGGER volume_resized AFTER UPDATE OF size_gib ON volume BEGIN
    UPDATE project SET used_volume_gib = used_volume_gib + NEW.size_gib - OLD.size_gib
    WHERE id = NEW.project_id;
END;
CREATE TRIGGER volume_removed AFTER DELETE ON volume BEGIN
    UPDATE project SET used_volumes = used_volumes - 1, used_volume_gib = used_volume_gib - OLD.size_gib
    WHERE id = OLD.project_id;
END;
CREATE TRIGGER volume_stays BEFORE UPDATE OF pool_id, project_id ON volume BEGIN
    SELECT raise(ABORT, 'a volume never changes its pool or project');
END;
CREATE TRIGGER volume_never_shrinks BEFORE UPDATE OF size_gib ON volume WHEN NEW.size_gib < OLD.size_gib BEGIN
    SELECT raise(ABORT, 'a volume never shrinks');
END;

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
