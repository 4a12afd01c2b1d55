-- Bundles, plans, runs and their orders.
-- Locks: creates only.

CREATE TABLE bundle (
    digest         bytea PRIMARY KEY,
    length         bigint NOT NULL,
    bytes          bytea NOT NULL,
    project        text NOT NULL,
    config_digest  bytea NOT NULL,
    graph_digest   bytea NOT NULL,
    budget         jsonb,
    author         text NOT NULL,
    created_at     timestamptz NOT NULL
);

CREATE TABLE run (
    run_id         uuid PRIMARY KEY,
    kind           text NOT NULL CONSTRAINT run_kind_known CHECK (kind IN ('check', 'apply')),
    project        text NOT NULL,
    state          text NOT NULL CONSTRAINT run_state_known
        CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'aborted', 'stopped', 'cancelled', 'unresolved')),
    bundle_digest  bytea NOT NULL REFERENCES bundle,
    plan_digest    bytea,
    ordered_by     text NOT NULL,
    reason         text,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    deadline_at    timestamptz,
    CONSTRAINT run_waiting_has_deadline CHECK ((state IN ('queued', 'running')) = (deadline_at IS NOT NULL)),
    CONSTRAINT run_ended_has_end CHECK ((state IN ('queued', 'running')) = (ended_at IS NULL))
);
CREATE INDEX run_by_deadline ON run (deadline_at) WHERE deadline_at IS NOT NULL;

CREATE TABLE plan (
    digest         bytea PRIMARY KEY,
    document       bytea NOT NULL,
    envelope       bytea NOT NULL,
    bundle_digest  bytea NOT NULL REFERENCES bundle,
    run_id         uuid NOT NULL REFERENCES run,
    created_at     timestamptz NOT NULL
);
CREATE INDEX plan_by_run ON plan (run_id);

CREATE TABLE run_order (
    order_id          uuid PRIMARY KEY,
    run_id            uuid NOT NULL REFERENCES run,
    agent_id          uuid NOT NULL REFERENCES agent,
    state             text NOT NULL CONSTRAINT run_order_state_known
        CHECK (state IN ('pending', 'accepted', 'succeeded', 'failed', 'aborted', 'stopped', 'indeterminate', 'refused', 'expired',
                         'cancelled', 'unresolved')),
    fencing_token     bigint NOT NULL,
    cancel_requested  boolean NOT NULL DEFAULT false,
    late              boolean NOT NULL DEFAULT false,
    control_epoch     bigint NOT NULL,
    lease_ms          bigint NOT NULL,
    issued_at         timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    deadline_at       timestamptz,
    heard_at          timestamptz,
    grant_micros      bigint NOT NULL,
    accepted_at       timestamptz,
    ended_at          timestamptz,
    code              text,
    detail            text,
    changed           integer,
    unchanged         integer,
    failed            integer,
    skipped           integer,
    cost_micros       bigint,
    statement         bytea,
    journal_id        uuid,
    first_seq         bigint,
    last_seq          bigint,
    epoch             integer,
    generation        bigint,
    updated_at        timestamptz NOT NULL,
    CONSTRAINT run_order_once_per_agent UNIQUE (run_id, agent_id),
    CONSTRAINT run_order_waiting_has_deadline CHECK ((state IN ('pending', 'accepted')) = (deadline_at IS NOT NULL)),
    CONSTRAINT run_order_accepted_is_heard CHECK (state <> 'accepted' OR heard_at IS NOT NULL)
);
CREATE INDEX run_order_outstanding ON run_order (agent_id, issued_at) WHERE state IN ('pending', 'accepted');
CREATE INDEX run_order_by_deadline ON run_order (deadline_at) WHERE deadline_at IS NOT NULL;
