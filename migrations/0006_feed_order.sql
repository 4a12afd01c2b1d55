-- Readers of the feed go by transaction, then by number: a number is drawn before its transaction commits, so numbers alone come out of order.
CREATE INDEX feed_order ON feed (xact, feed_id);
