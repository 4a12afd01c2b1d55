-- Triggers: alerts of another program that started something. What comes again, as alerts do until they are over, finds its row and starts nothing.
-- Locks: creates only.
CREATE TABLE trigger_seen (
    -- SHA-256 of the trigger, the rule, the group, the alert and when it began.
    key         bytea PRIMARY KEY,
    trigger     text NOT NULL,
    rule        text NOT NULL,
    -- Of several alerts that started one thing together one counts.
    is_start    boolean NOT NULL,
    seen_at     timestamptz NOT NULL
);
CREATE INDEX trigger_seen_starts ON trigger_seen (trigger, seen_at) WHERE is_start;
CREATE INDEX trigger_seen_old ON trigger_seen (seen_at);
