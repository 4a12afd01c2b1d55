-- Incidents: what went wrong, and who answered for it. The log is the truth and only grows; `incident` is what it adds up to.
-- Locks: creates only.

CREATE TABLE incident (
    incident_id  uuid PRIMARY KEY,
    kind         text NOT NULL CONSTRAINT incident_kind_known CHECK (kind IN ('halt', 'budget', 'dispute', 'fork', 'clone')),
    cause        text NOT NULL,
    state        text NOT NULL CONSTRAINT incident_state_known CHECK (state IN ('open', 'acknowledged', 'closed')),
    summary      text NOT NULL,
    halt_id      uuid,
    run_id       uuid,
    agent_id     uuid,
    orders       bigint NOT NULL,
    opened_at    timestamptz NOT NULL,
    acked_by     text,
    acked_at     timestamptz,
    closed_by    text,
    closed_at    timestamptz,
    reason       text,
    last_seq     bigint NOT NULL,
    CONSTRAINT incident_closed_by_somebody CHECK ((state = 'closed') = (closed_by IS NOT NULL AND closed_at IS NOT NULL AND reason IS NOT NULL))
);
-- One open incident of a cause, whoever finds it, and however often.
CREATE UNIQUE INDEX incident_open_once ON incident (cause) WHERE state <> 'closed';

-- Each digest covers the entry as it is kept and the digest before it.
CREATE TABLE incident_entry (
    seq          bigint PRIMARY KEY,
    incident_id  uuid NOT NULL REFERENCES incident,
    body         text NOT NULL,
    hash         bytea NOT NULL
);
CREATE INDEX incident_entry_by_incident ON incident_entry (incident_id, seq);

-- The end of the chain; whoever writes an entry holds it, so that entries come one after the other.
CREATE TABLE incident_head (
    one   boolean PRIMARY KEY DEFAULT true CONSTRAINT incident_head_is_one CHECK (one),
    seq   bigint NOT NULL,
    hash  bytea NOT NULL
);
INSERT INTO incident_head (seq, hash) VALUES (0, '\x0000000000000000000000000000000000000000000000000000000000000000');

CREATE FUNCTION incident_entry_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the incident log only grows';
END $$;
CREATE TRIGGER incident_entry_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_entry
    FOR EACH STATEMENT EXECUTE FUNCTION incident_entry_only_grows();
