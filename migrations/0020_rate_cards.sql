-- Prices by version. An order carries the card of the version that it was made under, whatever the controller that signs it is set to now.
-- Locks: creates only.

CREATE TABLE rate_card (
    version     integer PRIMARY KEY CHECK (version > 0),
    card        jsonb NOT NULL,
    since       timestamptz NOT NULL
);

-- The only one that there was: every order so far was made under it.
INSERT INTO rate_card (version, card, since)
VALUES (1, '{"version":1,"currency":"USD","cpuSecondMicros":12,"memoryGibSecondMicros":2,"writtenGibMicros":100}', now());
