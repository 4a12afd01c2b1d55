-- What orders cost, by when they were made: the version of the prices that each was made under, and a way to a window of them.
-- Locks: ACCESS EXCLUSIVE on run_order for a moment (the value is constant, so no row is written), SHARE while the index is built.
-- Until now there was one rate card, version 1.
ALTER TABLE run_order ADD COLUMN rate_card integer NOT NULL DEFAULT 1;
CREATE INDEX run_order_by_issue ON run_order (issued_at, order_id);
