-- What a plan saw of a host, so that its agent can refuse when the host has moved since.
-- Locks: ACCESS EXCLUSIVE on run_order for a moment; the column is empty, so no row is written.
ALTER TABLE run_order ADD COLUMN rests_on bytea CHECK (length(rests_on) = 32);
