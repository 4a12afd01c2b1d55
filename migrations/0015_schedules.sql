-- Schedules: what is started when, and what became of each of their times.
-- Locks: creates only.

CREATE TABLE schedule (
    schedule_id  uuid PRIMARY KEY,
    name         text NOT NULL,
    rule         jsonb NOT NULL,
    kind         text NOT NULL CONSTRAINT schedule_kind_known CHECK (kind IN ('apply', 'check', 'cost_report')),
    plan_digest  bytea REFERENCES plan,
    is_paused    boolean NOT NULL DEFAULT false,
    -- Every time until here has its row in schedule_fire.
    decided_at   timestamptz NOT NULL,
    next_at      timestamptz,
    due_at       timestamptz,
    queued       integer NOT NULL DEFAULT 0,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    removed_at   timestamptz,
    CONSTRAINT schedule_plan_named CHECK ((kind IN ('apply', 'check')) = (plan_digest IS NOT NULL)),
    CONSTRAINT schedule_next_is_due CHECK ((next_at IS NULL) = (due_at IS NULL)),
    CONSTRAINT schedule_goes_on CHECK (next_at > decided_at AND due_at >= next_at),
    CONSTRAINT schedule_queue_counts CHECK (queued >= 0)
);
CREATE UNIQUE INDEX schedule_name_once ON schedule (name) WHERE removed_at IS NULL;
CREATE INDEX schedule_by_due ON schedule (due_at) WHERE removed_at IS NULL;
CREATE INDEX schedule_by_queue ON schedule (schedule_id) WHERE removed_at IS NULL AND queued > 0;

-- One row for each time that came; times in a row that were skipped for one reason are one row.
CREATE TABLE schedule_fire (
    schedule_id  uuid NOT NULL REFERENCES schedule,
    fire_at      timestamptz NOT NULL,
    through_at   timestamptz NOT NULL,
    times        bigint NOT NULL DEFAULT 1,
    state        text NOT NULL CONSTRAINT schedule_fire_state_known CHECK (state IN ('queued', 'started', 'failed', 'skipped')),
    reason       text,
    detail       text,
    run_id       uuid REFERENCES run,
    -- Whether what it started is not known to have ended.
    is_open      boolean NOT NULL DEFAULT false,
    due_at       timestamptz NOT NULL,
    decided_at   timestamptz NOT NULL,
    started_at   timestamptz,
    PRIMARY KEY (schedule_id, fire_at),
    CONSTRAINT schedule_fire_times_count CHECK (times >= 1 AND through_at >= fire_at),
    CONSTRAINT schedule_fire_skip_has_reason CHECK (state NOT IN ('skipped', 'failed') OR reason IS NOT NULL),
    CONSTRAINT schedule_fire_open_has_run CHECK (NOT is_open OR run_id IS NOT NULL)
);
CREATE INDEX schedule_fire_open ON schedule_fire (schedule_id) WHERE is_open;
CREATE INDEX schedule_fire_queued ON schedule_fire (schedule_id, fire_at) WHERE state = 'queued';
