-- Drift: what agents found when they held hosts against the last plan that was applied there, and what people said to it.
-- Locks: creates only.

-- What is watched on a host, one row for each project: written by records, moved on by hellos, many at a time.
CREATE TABLE drift_watch (
    agent_id   uuid NOT NULL REFERENCES agent,
    project    text NOT NULL,
    -- As the agent names them; a restore may have lost their rows.
    order_id   uuid NOT NULL,
    run_id     uuid NOT NULL,
    bundle     bytea NOT NULL,
    watched    bigint NOT NULL,
    unwatched  bigint NOT NULL,
    -- Above 0 nothing is known of resources that have no finding.
    left_out   bigint NOT NULL,
    looked_at  timestamptz NOT NULL,
    -- The digest of the answer: a hello that tells the same one has seen the same again.
    differing  bytea NOT NULL,
    PRIMARY KEY (agent_id, project)
) WITH (fillfactor = 50);

-- One row for each resource that ever differed or could not be looked at; what comes back is the same row.
CREATE TABLE drift_finding (
    drift_id      uuid PRIMARY KEY,
    agent_id      uuid NOT NULL REFERENCES agent,
    project       text NOT NULL,
    resource      text NOT NULL,
    -- SHA-256 of agent, project and resource: a resource's id may be longer than an index takes.
    name          bytea NOT NULL CONSTRAINT drift_finding_name_once UNIQUE,
    class         text NOT NULL CONSTRAINT drift_finding_class_known
        CHECK (class IN ('none', 'expected', 'unknown', 'capacity', 'configuration', 'availability', 'security')),
    severity      text NOT NULL CONSTRAINT drift_finding_severity_known CHECK (severity IN ('info', 'warn', 'critical')),
    state         text NOT NULL CONSTRAINT drift_finding_state_known CHECK (state IN ('open', 'acknowledged', 'unknown', 'cleared')),
    changes       jsonb NOT NULL,
    unseen        jsonb,
    occurrences   bigint NOT NULL,
    -- When it came back, the last few times, microseconds since 1970.
    reopened      jsonb NOT NULL,
    first_seen    timestamptz NOT NULL,
    last_seen     timestamptz NOT NULL,
    last_clean    timestamptz,
    order_id      uuid NOT NULL,
    run_id        uuid NOT NULL,
    known_by      text,
    known_at      timestamptz,
    known_reason  text,
    CONSTRAINT drift_finding_known_by_somebody CHECK (
        (known_by IS NULL) = (known_at IS NULL) AND (known_by IS NULL) = (known_reason IS NULL)
        AND (state <> 'acknowledged' OR known_by IS NOT NULL))
);
CREATE INDEX drift_finding_by_watch ON drift_finding (agent_id, project);
CREATE INDEX drift_finding_standing ON drift_finding (drift_id) WHERE state <> 'cleared';
CREATE INDEX drift_finding_cleared ON drift_finding (last_clean) WHERE state = 'cleared';

-- What became of findings; forgotten after a time, and never changed before.
CREATE TABLE drift_event (
    drift_event_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    drift_id        uuid NOT NULL REFERENCES drift_finding ON DELETE CASCADE,
    at              timestamptz NOT NULL,
    written_at      timestamptz NOT NULL,
    kind            text NOT NULL,
    actor           text NOT NULL,
    detail          jsonb NOT NULL
);
CREATE INDEX drift_event_by_finding ON drift_event (drift_id, drift_event_id);

CREATE FUNCTION drift_event_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what became of a finding is not changed';
END $$;
CREATE TRIGGER drift_event_stays BEFORE UPDATE OR TRUNCATE ON drift_event
    FOR EACH STATEMENT EXECUTE FUNCTION drift_event_stays();
