-- A halt ends only by its lift, so manifests and answers carry lifts. Agents from before refuse a document with a field that they do not know:
-- whether the one that spoke last reads lifts is written down with its hello.
-- Locks: ACCESS EXCLUSIVE on agent_liveness for a moment (no row is written).
ALTER TABLE agent_liveness ADD COLUMN reads_lifts boolean NOT NULL DEFAULT false;
