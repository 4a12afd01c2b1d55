-- Runs of which an order has moved, until somebody has worked out where the run stands. Kept apart from the run, so that those who write down
-- orders of one run at the same time do not wait for each other. Without a key on the run and without a reference to it: both would make
-- writers wait for one another again; a second row about the same run only means that it is looked at once more.
-- Locks: creates only.
CREATE TABLE run_moved (
    place   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id  uuid NOT NULL
);
