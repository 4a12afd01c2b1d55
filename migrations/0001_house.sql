-- The database's own life, the claims of controllers, and who may call the API.
-- Locks: creates only.

CREATE TABLE meta (
    one                boolean PRIMARY KEY DEFAULT true CONSTRAINT meta_is_one CHECK (one),
    tenant             text NOT NULL,
    epoch              integer NOT NULL CONSTRAINT meta_epoch_counts_from_one CHECK (epoch >= 1),
    control_epoch      bigint NOT NULL DEFAULT 0,
    system_identifier  bigint NOT NULL,
    timeline           integer NOT NULL
);

-- A claim on work that must have one owner. The token grows with every new holder and is checked inside the transactions that write.
CREATE TABLE lease (
    name        text PRIMARY KEY,
    holder      uuid NOT NULL,
    token       bigint NOT NULL,
    expires_at  timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Only the digest of a token is kept: a stolen table logs nobody in.
CREATE TABLE api_token (
    token_id    uuid PRIMARY KEY,
    name        text NOT NULL CONSTRAINT api_token_name_unique UNIQUE,
    digest      bytea NOT NULL CONSTRAINT api_token_digest_unique UNIQUE,
    role        text NOT NULL CONSTRAINT api_token_role_known CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    revoked_at  timestamptz
);

-- The answer to a POST, so that the same request is answered the same again.
CREATE TABLE idempotency (
    principal    text NOT NULL,
    key          text NOT NULL,
    request      bytea NOT NULL,
    status       integer,
    body         bytea,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Who did what; written in the transaction that does it.
CREATE TABLE audit (
    audit_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL,
    actor     text NOT NULL,
    verb      text NOT NULL,
    object    text NOT NULL,
    detail    jsonb NOT NULL
);

-- What changed, for those who watch. `xact` lets a reader stop below transactions that are still open, so that no id is skipped; it stands
-- first because defaults are taken in order, and a transaction must have its number before it draws an id.
CREATE TABLE feed (
    xact     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    feed_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    topic    text NOT NULL,
    kind     text NOT NULL,
    body     jsonb NOT NULL
);
