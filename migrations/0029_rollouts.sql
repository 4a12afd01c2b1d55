-- Rollouts: orders that are held until it is their turn in their run, and the numbers that a run is held to.
-- Locks: ACCESS EXCLUSIVE on bundle, run and run_order for an instant each; SHARE on run_order while its index is built; its writers wait.
ALTER TABLE bundle ADD COLUMN rollout jsonb;
ALTER TABLE run ADD COLUMN rollout jsonb;
-- Contract: nothing is taken away: a wider one takes its place at once, and no release before this one writes the new states.
ALTER TABLE run_order DROP CONSTRAINT run_order_state_known;
ALTER TABLE run_order ADD CONSTRAINT run_order_state_known
    CHECK (state IN ('pending', 'accepted', 'succeeded', 'failed', 'aborted', 'stopped', 'indeterminate', 'refused', 'expired',
                     'cancelled', 'unresolved', 'held', 'not-started')) NOT VALID;
CREATE INDEX run_order_held ON run_order (run_id) WHERE state = 'held';
