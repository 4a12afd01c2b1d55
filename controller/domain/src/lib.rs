//! The rulebook: runs, orders, leases, budgets, halts. Pure transitions.
