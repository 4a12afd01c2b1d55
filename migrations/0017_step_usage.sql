-- What steps used, to be added up beside what they cost. Rows from before have nothing of it; their records say what they used.
-- Locks: ACCESS EXCLUSIVE on step for a moment (no row is written).
ALTER TABLE step ADD COLUMN cpu_user_us bigint;
ALTER TABLE step ADD COLUMN cpu_system_us bigint;
ALTER TABLE step ADD COLUMN wall_us bigint;
ALTER TABLE step ADD COLUMN peak_memory_bytes bigint;
-- As it is priced: what was measured, else the peak over the whole wall time.
ALTER TABLE step ADD COLUMN memory_byte_seconds bigint;
ALTER TABLE step ADD COLUMN read_bytes bigint;
ALTER TABLE step ADD COLUMN written_bytes bigint;
-- Null where nobody counted them.
ALTER TABLE step ADD COLUMN network_bytes bigint;
ALTER TABLE step ADD COLUMN processes bigint;
ALTER TABLE step ADD COLUMN lower_bound boolean;
-- Where each figure comes from, as the agent signed it.
ALTER TABLE step ADD COLUMN sources jsonb;
