-- Copies of snapshots.

-- What a copy was made of, and where that was; it may be gone. The volume of a copy is one that never was.
ALTER TABLE snapshot ADD COLUMN copy_of BLOB;
ALTER TABLE snapshot ADD COLUMN copy_pool_id BLOB CHECK ((copy_pool_id IS NULL) = (copy_of IS NULL));
CREATE INDEX snapshot_being_copied ON snapshot (copy_of) WHERE state = 'pending' AND copy_of IS NOT NULL;
