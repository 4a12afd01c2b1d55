-- Budgets: what may be spent, what of it is promised to orders, and what became of each promise.
-- Locks: creates only.

CREATE TABLE budget (
    level       text NOT NULL CONSTRAINT budget_level_known CHECK (level IN ('tenant', 'project')),
    name        text NOT NULL,
    mode        text NOT NULL CONSTRAINT budget_mode_known CHECK (mode IN ('observe', 'warn', 'enforce')),
    cap_micros  bigint NOT NULL CONSTRAINT budget_cap_counts CHECK (cap_micros >= 0),
    currency    text NOT NULL,
    span        text NOT NULL CONSTRAINT budget_span_known CHECK (span IN ('none', 'day', 'month')),
    set_by      text NOT NULL,
    set_at      timestamptz NOT NULL,
    PRIMARY KEY (level, name)
);

-- One budget over one window; a run's own budget is an account without a budget row, for it never changes by itself.
CREATE TABLE budget_account (
    account_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    level            text NOT NULL CONSTRAINT budget_account_level_known CHECK (level IN ('tenant', 'project', 'run')),
    name             text NOT NULL,
    began_at         timestamptz NOT NULL,
    mode             text NOT NULL CONSTRAINT budget_account_mode_known CHECK (mode IN ('observe', 'warn', 'enforce')),
    cap_micros       bigint NOT NULL,
    reserved_micros  bigint NOT NULL DEFAULT 0,
    spent_micros     bigint NOT NULL DEFAULT 0,
    disputed_micros  bigint NOT NULL DEFAULT 0,
    overrun_micros   bigint NOT NULL DEFAULT 0,
    refused          bigint NOT NULL DEFAULT 0,
    noticed          integer NOT NULL DEFAULT 0,
    CONSTRAINT budget_account_once UNIQUE (level, name, began_at),
    CONSTRAINT budget_account_counts
        CHECK (cap_micros >= 0 AND reserved_micros >= 0 AND spent_micros >= 0 AND disputed_micros >= 0 AND overrun_micros >= 0),
    -- The last wall: whatever a statement says, no commit promises more than there is.
    CONSTRAINT budget_account_wall CHECK (mode <> 'enforce' OR reserved_micros + spent_micros + disputed_micros <= cap_micros)
);

CREATE TABLE budget_grant (
    order_id         uuid PRIMARY KEY REFERENCES run_order,
    tenant_account   bigint REFERENCES budget_account,
    project_account  bigint REFERENCES budget_account,
    run_account      bigint REFERENCES budget_account,
    amount_micros    bigint NOT NULL,
    state            text NOT NULL CONSTRAINT budget_grant_state_known CHECK (state IN ('open', 'spent', 'returned', 'disputed')),
    spent_micros     bigint NOT NULL DEFAULT 0,
    overrun_micros   bigint NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT budget_grant_counts CHECK (amount_micros >= 0 AND spent_micros >= 0 AND spent_micros <= amount_micros AND overrun_micros >= 0)
);
