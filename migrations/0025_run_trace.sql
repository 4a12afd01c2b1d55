-- The trace that a run belongs to goes on from the request that made it: what is published, told and exported of the run names it.
-- Locks: ACCESS EXCLUSIVE on run for a moment (no row is written).
ALTER TABLE run ADD COLUMN traceparent text;
