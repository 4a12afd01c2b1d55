-- A manifest that only drops orders which ended: nobody waits for it, so those that bring orders go first.
-- Locks: ACCESS EXCLUSIVE on manifest_dirty for a moment; the default is constant, so no row is written.
ALTER TABLE manifest_dirty ADD COLUMN can_wait boolean NOT NULL DEFAULT false;
