-- Snapshots of several volumes of one moment, for which their guest is paused.

-- What of the guest holds still: its file systems, or its virtual CPUs.
ALTER TABLE freeze ADD COLUMN kind TEXT NOT NULL DEFAULT 'file_systems' CHECK (kind IN ('file_systems', 'vcpus'));
-- The same of the freeze that a snapshot waits for, or was taken in; it says nothing of a snapshot without one.
ALTER TABLE snapshot ADD COLUMN freeze_kind TEXT NOT NULL DEFAULT 'file_systems'
    CHECK (freeze_kind IN ('file_systems', 'vcpus'));
