-- Signed stops, their lifts, and which agents have taken them.
-- Locks: creates only.

CREATE TABLE halt (
    halt_id        uuid PRIMARY KEY,
    scope          jsonb NOT NULL,
    action         text NOT NULL CONSTRAINT halt_action_known CHECK (action IN ('soft', 'hard', 'lockdown')),
    control_epoch  bigint NOT NULL CONSTRAINT halt_control_epoch_unique UNIQUE,
    envelope       bytea NOT NULL,
    reason         text NOT NULL,
    set_by         text NOT NULL,
    set_at         timestamptz NOT NULL,
    lifted_at      timestamptz,
    lift_epoch     bigint,
    lift           bytea,
    CONSTRAINT halt_lifted_has_lift CHECK ((lifted_at IS NULL) = (lift IS NULL) AND (lifted_at IS NULL) = (lift_epoch IS NULL))
);

CREATE TABLE halt_ack (
    halt_id   uuid NOT NULL REFERENCES halt,
    agent_id  uuid NOT NULL REFERENCES agent,
    lifted    boolean NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (halt_id, agent_id, lifted)
);
