-- Agents, how they came to be, and how far their journals are committed.
-- Locks: creates only.

CREATE TABLE join_token (
    token_id    uuid PRIMARY KEY,
    login       text NOT NULL CONSTRAINT join_token_login_unique UNIQUE,
    public_key  bytea NOT NULL,
    agent_name  text,
    labels      jsonb NOT NULL,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz,
    used_by     uuid
);

CREATE TABLE agent (
    agent_id      uuid PRIMARY KEY,
    name          text NOT NULL CONSTRAINT agent_name_unique UNIQUE,
    user_key      text NOT NULL CONSTRAINT agent_user_key_unique UNIQUE,
    artefact_key  bytea NOT NULL,
    machine       bytea NOT NULL,
    hostname      text NOT NULL,
    shard         smallint NOT NULL,
    labels        jsonb NOT NULL,
    facts         jsonb NOT NULL,
    state         text NOT NULL CONSTRAINT agent_state_known CHECK (state IN ('active', 'quarantined', 'removed')),
    state_reason  text,
    keys          bytea NOT NULL,
    generation    bigint NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
CREATE INDEX agent_by_label ON agent USING gin (labels jsonb_path_ops);

-- Written on hellos, many at a time; no other index, so that updates stay on their page.
CREATE TABLE agent_liveness (
    agent_id         uuid PRIMARY KEY REFERENCES agent,
    session_id       uuid NOT NULL,
    journal_id       uuid NOT NULL,
    incarnation      bigint NOT NULL,
    seen_at          timestamptz NOT NULL,
    have_epoch       integer NOT NULL,
    have_generation  bigint NOT NULL,
    control_epoch    bigint NOT NULL,
    agent_version    text NOT NULL,
    free_disk_bytes  bigint NOT NULL,
    clock_offset_us  bigint NOT NULL,
    draining         boolean NOT NULL,
    regressions      bigint NOT NULL
) WITH (fillfactor = 50);

-- How much of a journal is committed. The row is the authority on what is a repeat: it is locked by whoever inserts frames.
CREATE TABLE agent_ingest (
    agent_id    uuid NOT NULL REFERENCES agent,
    journal_id  uuid NOT NULL,
    next_seq    bigint NOT NULL CONSTRAINT agent_ingest_counts_from_one CHECK (next_seq >= 1),
    last_hash   bytea NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (agent_id, journal_id)
) WITH (fillfactor = 50);

-- The newest signed manifest of an agent and those before it: what ordered what must stay provable.
CREATE TABLE manifest (
    agent_id    uuid NOT NULL REFERENCES agent,
    epoch       integer NOT NULL,
    generation  bigint NOT NULL,
    envelope    bytea NOT NULL,
    digest      bytea NOT NULL,
    orders      integer NOT NULL,
    signed_at   timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (agent_id, epoch, generation)
);

-- Agents whose manifest on the bus is behind. Ten changes to an agent are one row and one message.
CREATE TABLE manifest_dirty (
    agent_id    uuid PRIMARY KEY REFERENCES agent,
    shard       smallint NOT NULL,
    generation  bigint NOT NULL,
    since       timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX manifest_dirty_by_shard ON manifest_dirty (shard, since);
