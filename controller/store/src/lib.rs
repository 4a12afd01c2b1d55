//! The ledger: all SQL, rows, transactions, leases, outbox.
