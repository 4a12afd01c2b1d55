-- Somebody may ask for a look at everything at once. That it was asked is in the ledger before any agent hears of it, and is said in answers to
-- hellos until a look is known that began later. Agents from before refuse an answer with a field that they do not know: whether the one that
-- spoke last looks when it is asked is written down with its hello.
-- Locks: ACCESS EXCLUSIVE on drift_watch and agent_liveness for a moment (no row is written).
ALTER TABLE drift_watch ADD COLUMN asked_at timestamptz;
ALTER TABLE agent_liveness ADD COLUMN looks_when_asked boolean NOT NULL DEFAULT false;
