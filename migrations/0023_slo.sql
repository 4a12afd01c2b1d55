-- What happened to promises, by minute: how many events, and how many of them were good. Every controller adds what it saw.
-- Locks: creates only.

CREATE TABLE slo_count (
    slo        text NOT NULL,
    minute_at  timestamptz NOT NULL,
    good       bigint NOT NULL CHECK (good >= 0),
    total      bigint NOT NULL CHECK (total >= good),
    PRIMARY KEY (slo, minute_at)
);
