-- Looks whether what 0029 asks of orders holds for those from before it.
-- Locks: SHARE UPDATE EXCLUSIVE on run_order while it is read.
ALTER TABLE run_order VALIDATE CONSTRAINT run_order_state_known;
