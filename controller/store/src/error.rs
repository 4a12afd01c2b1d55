//! Why the ledger could not be read or written.

/// An error of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server, or the connection to it.
    #[error("the database failed in {name}")]
    Driver {
        /// The transaction.
        name: &'static str,
        /// What it said.
        #[source]
        source: sqlx::Error,
    },
    /// The connection was lost while committing: nobody knows whether it took effect. Read again before doing anything.
    #[error("the connection was lost while committing {name}; whether it took effect is not known")]
    CommitUnknown {
        /// The transaction.
        name: &'static str,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// A unique rule was broken: somebody else was first.
    #[error("{constraint} is taken")]
    Taken {
        /// The rule's name.
        constraint: String,
    },
    /// A row holds what it must not.
    #[error("the database holds an impossible {what}")]
    Inconsistent {
        /// Which value.
        what: &'static str,
    },
    /// The schema is not one that this build works with.
    #[error("the database's schema is version {found}, this build works with {wanted}")]
    SchemaVersion {
        /// What is there.
        found: i64,
        /// What is wanted.
        wanted: String,
    },
    /// Migrating failed.
    #[error("the schema could not be brought up to date")]
    Migrate(#[source] Box<sqlx::migrate::MigrateError>),
    /// The address of the database.
    #[error("the database's address cannot be read")]
    Address(#[source] sqlx::Error),
}

impl Error {
    /// Whether doing the whole transaction again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Driver { source, .. } => match source {
                sqlx::Error::Database(e) => {
                    let code = e.code().unwrap_or_default();
                    // Serialization failure, deadlock, lock not available, shutdown, connection failure, read-only after failover.
                    matches!(code.as_ref(), "40001" | "40P01" | "55P03" | "25006")
                        || code.starts_with("57P0")
                        || code.starts_with("08")
                }
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                _ => false,
            },
            Self::CommitUnknown { .. }
            | Self::Taken { .. }
            | Self::Inconsistent { .. }
            | Self::SchemaVersion { .. }
            | Self::Migrate(_)
            | Self::Address(_) => false,
        }
    }

    pub(crate) fn driver(name: &'static str, source: sqlx::Error) -> Self {
        if let sqlx::Error::Database(error) = &source
            && error.is_unique_violation()
            && let Some(constraint) = error.constraint()
        {
            return Self::Taken {
                constraint: constraint.to_owned(),
            };
        }
        Self::Driver { name, source }
    }
}
