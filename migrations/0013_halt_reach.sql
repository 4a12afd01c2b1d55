-- Orders that were given up may still be under way: how far a halt has come is counted with them too.
-- Locks: SHARE on run_order while the index is built; its writers wait.

CREATE INDEX run_order_unresolved ON run_order (agent_id) WHERE state = 'unresolved';
