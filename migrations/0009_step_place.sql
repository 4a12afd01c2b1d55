-- A step's row says where its record is; the record itself is evidence already and is not written twice.
-- Locks: ACCESS EXCLUSIVE on step while its rows are given their journals.
ALTER TABLE step ADD COLUMN journal_id uuid;
UPDATE step s SET journal_id = e.journal_id
FROM run_order o JOIN event e ON e.agent_id = o.agent_id AND e.order_id = o.order_id
WHERE s.order_id = o.order_id AND e.seq = s.seq;
ALTER TABLE step ALTER COLUMN journal_id SET NOT NULL;
ALTER TABLE step DROP COLUMN result;
