-- Whom a bundle's config selects, so that an apply can see whether the same hosts are meant as when its plan was made.
-- Locks: ACCESS EXCLUSIVE on bundle for an instant.
ALTER TABLE bundle ADD COLUMN targets jsonb;
