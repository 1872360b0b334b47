-- Snapshots of local root disks: the placement that has the disk. A snapshot outlives it, so that this is no reference.
ALTER TABLE snapshot ADD COLUMN root_of BLOB;
