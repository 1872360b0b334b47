-- Snapshots that are made from images.

-- The image that a snapshot is made from, which its host has to bring until it is there.
ALTER TABLE snapshot ADD COLUMN image_digest BLOB;
ALTER TABLE snapshot ADD COLUMN image_bytes INTEGER;
CREATE INDEX snapshot_image_wanted ON snapshot (image_digest) WHERE state = 'pending' AND image_digest IS NOT NULL;
