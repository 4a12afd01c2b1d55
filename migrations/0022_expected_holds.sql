-- Looks whether what 0021 asks of findings holds for those from before it.
-- Locks: SHARE UPDATE EXCLUSIVE on drift_finding while it is read; ROW SHARE on drift_suppression.
ALTER TABLE drift_finding VALIDATE CONSTRAINT drift_finding_expected_by_known;
ALTER TABLE drift_finding VALIDATE CONSTRAINT drift_finding_state_known;
ALTER TABLE drift_finding VALIDATE CONSTRAINT drift_finding_expected_by_somebody;
