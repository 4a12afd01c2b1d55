-- Alerts: who was told of what, and what was kept back. They are made from the feed, by whoever holds the place until which it was read.
-- Locks: creates only.

-- Until where the feed was read; one row, made when alerts are first on.
CREATE TABLE alert_place (
    is_only  boolean PRIMARY KEY DEFAULT true CONSTRAINT alert_place_only CHECK (is_only),
    xact     bigint NOT NULL,
    feed_id  bigint NOT NULL
);

-- One row for each notification of one receiver, sent or kept back.
CREATE TABLE alert (
    alert_id         uuid PRIMARY KEY,
    receiver         text NOT NULL,
    rule             text NOT NULL,
    severity         text NOT NULL CONSTRAINT alert_severity_known CHECK (severity IN ('info', 'warn', 'critical')),
    state            text NOT NULL CONSTRAINT alert_state_known CHECK (state IN ('waiting', 'sending', 'delivered', 'dead', 'dropped')),
    reason           text CONSTRAINT alert_reason_of_dropped CHECK ((reason IS NOT NULL) = (state = 'dropped')),
    -- What happened, the first first; more than one only in a group.
    happenings       jsonb NOT NULL,
    dedup_keys       text[] NOT NULL,
    group_key        text,
    -- The change in the feed that it was made from; none for one that somebody asked for.
    xact             bigint,
    feed_id          bigint,
    made_at          timestamptz NOT NULL,
    due_at           timestamptz NOT NULL,
    attempts         bigint NOT NULL,
    attempts_before  bigint NOT NULL,
    lease_until      timestamptz,
    tried_at         timestamptz,
    answer           text,
    ended_at         timestamptz,
    CONSTRAINT alert_once UNIQUE (receiver, xact, feed_id),
    CONSTRAINT alert_leased CHECK ((lease_until IS NOT NULL) = (state = 'sending'))
);
CREATE INDEX alert_due ON alert (receiver, due_at) WHERE state = 'waiting';
CREATE INDEX alert_leases ON alert (lease_until) WHERE state = 'sending';
-- What a receiver had lately: the limit, and what is the same.
CREATE INDEX alert_lately ON alert (receiver, due_at) WHERE state <> 'dropped';
CREATE INDEX alert_ended ON alert (ended_at) WHERE ended_at IS NOT NULL;
