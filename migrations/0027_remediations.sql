-- Remediations: what was begun against drift, and what environments let happen without a person.
-- Locks: SHARE on run_order while its index is built; its writers wait.

-- What becomes of drift in an environment; where there is no row, it is told and nothing else.
CREATE TABLE remediation_policy (
    environment    text PRIMARY KEY,
    mode           text NOT NULL CONSTRAINT remediation_policy_mode_known CHECK (mode IN ('audit', 'propose', 'autocorrect')),
    hosts_at_once  integer NOT NULL CONSTRAINT remediation_policy_hosts_some CHECK (hosts_at_once > 0),
    per_hour       integer NOT NULL CONSTRAINT remediation_policy_rate_some CHECK (per_hour > 0),
    failures_max   integer NOT NULL CONSTRAINT remediation_policy_failures_some CHECK (failures_max > 0),
    set_by         text NOT NULL,
    set_at         timestamptz NOT NULL,
    reason         text NOT NULL,
    -- Since when too many have failed; setting the policy again takes it away.
    stopped_at     timestamptz
);

-- One on a host and project at a time.
CREATE TABLE remediation (
    remediation_id  uuid PRIMARY KEY,
    agent_id        uuid NOT NULL REFERENCES agent,
    project         text NOT NULL,
    -- As the host was labelled when it began.
    environment     text,
    state           text NOT NULL CONSTRAINT remediation_state_known
        CHECK (state IN ('checking', 'proposed', 'remediating', 'verifying', 'resolved', 'failed', 'declined')),
    deadline_at     timestamptz,
    -- Findings are forgotten before this is; their ids stay.
    findings        uuid[] NOT NULL,
    resources       text[] NOT NULL,
    -- The order that applied the plan that this heads for.
    order_id        uuid NOT NULL,
    check_run       uuid NOT NULL REFERENCES run,
    plan_digest     bytea,
    run_id          uuid REFERENCES run,
    -- Whether a person asked for it, or the policy did.
    is_asked        boolean NOT NULL,
    begun_by        text NOT NULL,
    reason          text NOT NULL,
    created_at      timestamptz NOT NULL,
    approved_by     text,
    approved_at     timestamptz,
    ended_at        timestamptz,
    -- Why it stands as it does, in words.
    outcome         text NOT NULL,
    CONSTRAINT remediation_ended_is_over CHECK ((ended_at IS NULL) = (state NOT IN ('resolved', 'failed', 'declined'))),
    CONSTRAINT remediation_approved_has_run CHECK (run_id IS NULL OR (approved_at IS NOT NULL AND approved_by IS NOT NULL))
);
CREATE UNIQUE INDEX remediation_one_at_a_time ON remediation (agent_id, project) WHERE ended_at IS NULL;
CREATE INDEX remediation_of ON remediation (agent_id, project);
CREATE INDEX remediation_open ON remediation (remediation_id) WHERE ended_at IS NULL;
CREATE INDEX remediation_by_environment ON remediation (environment, created_at);
-- Whether a later plan was carried out on a host than the one that a remediation heads for.
CREATE INDEX run_order_of_agent ON run_order (agent_id, order_id);
