//! A private PostgreSQL for tests: one cluster a process, one fresh database a test. Behind the feature `testing`, never in a product.
