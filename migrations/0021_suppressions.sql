-- Known noise: what somebody signed beforehand about drift, and the findings that are expected because of it.
-- Locks: ACCESS EXCLUSIVE on drift_finding for a moment: no row is read or written; 0022 looks whether the constraints hold.

CREATE TABLE drift_suppression (
    suppression_id  uuid PRIMARY KEY,
    project         text NOT NULL,
    -- The signed statement: what counts is what it says.
    envelope        bytea NOT NULL,
    expires_at      timestamptz NOT NULL,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL,
    -- Set when it counts no longer: by its end, or because somebody took it back.
    ended_at        timestamptz,
    ended_by        text,
    end_reason      text,
    CONSTRAINT drift_suppression_ended_by_somebody CHECK (
        (ended_at IS NULL) = (ended_by IS NULL) AND (ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX drift_suppression_counting ON drift_suppression (project) WHERE ended_at IS NULL;

ALTER TABLE drift_finding ADD COLUMN expected_by uuid;
ALTER TABLE drift_finding ADD CONSTRAINT drift_finding_expected_by_known FOREIGN KEY (expected_by) REFERENCES drift_suppression NOT VALID;
-- Contract: nothing is taken away: a wider one takes its place at once, and no release before this one writes the new state.
ALTER TABLE drift_finding DROP CONSTRAINT drift_finding_state_known;
ALTER TABLE drift_finding ADD CONSTRAINT drift_finding_state_known
    CHECK (state IN ('open', 'acknowledged', 'expected', 'unknown', 'cleared')) NOT VALID;
ALTER TABLE drift_finding ADD CONSTRAINT drift_finding_expected_by_somebody
    CHECK ((state = 'expected') = (expected_by IS NOT NULL)) NOT VALID;
