-- What agents recorded: the frames as they came, and what is read from them.
-- Locks: creates only.

CREATE TABLE event (
    journal_id   uuid NOT NULL,
    seq          bigint NOT NULL,
    agent_id     uuid NOT NULL,
    kind         smallint NOT NULL,
    order_id     uuid,
    wall         timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    raw          bytea NOT NULL,
    PRIMARY KEY (agent_id, journal_id, seq)
);
CREATE INDEX event_by_order ON event (order_id, kind) WHERE order_id IS NOT NULL;

CREATE TABLE event_batch (
    journal_id   uuid NOT NULL,
    first_seq    bigint NOT NULL,
    last_seq     bigint NOT NULL,
    agent_id     uuid NOT NULL,
    envelope     bytea NOT NULL,
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (agent_id, journal_id, first_seq)
);

-- Messages that could not be taken, with the reason; bounded samples, so that a flood of them fills nothing.
CREATE TABLE dead_letter (
    dead_letter_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL,
    subject         text NOT NULL,
    code            text NOT NULL,
    detail          text NOT NULL,
    length          bigint NOT NULL,
    sample          bytea NOT NULL
);

CREATE TABLE step (
    order_id    uuid NOT NULL REFERENCES run_order,
    step        text NOT NULL,
    attempt     integer NOT NULL,
    outcome     text NOT NULL,
    code        text,
    detail      text NOT NULL,
    result      jsonb NOT NULL,
    cost_micros bigint NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL,
    seq         bigint NOT NULL,
    PRIMARY KEY (order_id, step, attempt)
);

CREATE TABLE artefact (
    order_id  uuid NOT NULL REFERENCES run_order,
    step      text NOT NULL,
    path      text NOT NULL,
    digest    bytea NOT NULL,
    length    bigint NOT NULL,
    PRIMARY KEY (order_id, step, path)
);

-- Orders that an agent reports and this database does not know: issued in a life that a restore lost.
CREATE TABLE orphan_order (
    order_id   uuid PRIMARY KEY,
    agent_id   uuid NOT NULL REFERENCES agent,
    first_seen timestamptz NOT NULL,
    detail     text NOT NULL
);

-- What an operator must know of an agent: its alarms and refusals of manifests.
CREATE TABLE alarm (
    alarm_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id  uuid NOT NULL REFERENCES agent,
    at        timestamptz NOT NULL,
    code      text NOT NULL,
    detail    text NOT NULL
);
