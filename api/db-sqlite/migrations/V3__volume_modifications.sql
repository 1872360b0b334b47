-- Changes of volumes' sizes.

-- The last one of each volume. It ends once the volume's host has the size, and so has the guest that uses it.
CREATE TABLE volume_modification (
    volume_id BLOB PRIMARY KEY REFERENCES volume ON DELETE CASCADE,
    original_gib INTEGER NOT NULL,
    target_gib INTEGER NOT NULL CHECK (target_gib > original_gib),
    started_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT, WITHOUT ROWID;

-- The size that the guest's host has given to the guest; 0 before its word.
ALTER TABLE attachment ADD COLUMN guest_gib INTEGER NOT NULL DEFAULT 0;

-- An instance's record has the sizes of its volumes.
CREATE TRIGGER volume_size_counts AFTER UPDATE OF actual_gib ON volume BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;

-- The parts of nodes say more of their guests' volumes now, and one generation has one content.
UPDATE node SET generation = generation + 1
WHERE id IN (SELECT p.node_id FROM attachment a JOIN placement p ON p.id = a.placement_id);
