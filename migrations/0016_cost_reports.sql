-- Signed reports of what weeks cost.
-- Locks: ACCESS EXCLUSIVE on incident for a moment, SHARE UPDATE EXCLUSIVE while its rows are looked at; creates otherwise.

CREATE TABLE cost_report (
    report_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    week            text NOT NULL,
    digest          bytea NOT NULL,
    document        bytea NOT NULL,
    rendering       bytea NOT NULL,
    envelope        bytea NOT NULL,
    root            bytea NOT NULL,
    policy          bytea NOT NULL,
    orders          bigint NOT NULL,
    counted_micros  bigint NOT NULL,
    made_by         text NOT NULL,
    made_at         timestamptz NOT NULL,
    CONSTRAINT cost_report_once UNIQUE (week, digest),
    CONSTRAINT cost_report_counts CHECK (orders >= 0 AND counted_micros >= 0)
);

-- A report that is not there is an incident of its own. The table is small: incidents are what people answer for.
-- Contract: the rule is widened in the next statement; everything that a release before writes still fits.
ALTER TABLE incident DROP CONSTRAINT incident_kind_known;
ALTER TABLE incident ADD CONSTRAINT incident_kind_known CHECK (kind IN ('halt', 'budget', 'dispute', 'fork', 'clone', 'cost-report')) NOT VALID;
ALTER TABLE incident VALIDATE CONSTRAINT incident_kind_known;
