-- Scratch and swap disks of instances, on the hosts of their places.

-- 0 is none. A live placement takes them of its node's disk.
ALTER TABLE instance ADD COLUMN scratch_gib INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instance ADD COLUMN swap_gib INTEGER NOT NULL DEFAULT 0;
