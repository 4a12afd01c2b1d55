//! Why the desk refuses: a stable code, and a sentence that says what, where and what to do.

use writ_protocol::reason::Code;
use writ_protocol::statement::StatementError;
use writ_protocol::trust::TrustError;

use crate::signer;

/// A refusal of the desk.
#[derive(Debug, thiserror::Error)]
#[error("{code} {}: {detail}", code.title())]
pub struct Error {
    code: Code,
    detail: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    diagnostics: Vec<writ_plan::diagnostic::Diagnostic>,
}

impl Error {
    /// A refusal.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            source: None,
            diagnostics: Vec::new(),
        }
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(Code::Forbidden, detail)
    }

    pub(super) fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("there is no {what} {id}"))
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Code::Conflict, detail)
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::Malformed, detail)
    }

    pub(super) fn foreign_cursor() -> Self {
        Self::malformed("the cursor is not one of this list: give what `next` of its last page said")
    }

    pub(super) fn internal(
        detail: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Some(Box::new(source)),
            ..Self::new(Code::Internal, detail)
        }
    }

    /// A refusal with what it came from.
    pub(super) fn caused(
        code: Code,
        detail: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Some(Box::new(source)),
            ..Self::new(code, detail)
        }
    }

    /// What it came from, where that is a `T`.
    pub(super) fn source_as<T: std::error::Error + 'static>(&self) -> Option<&T> {
        self.source.as_ref()?.downcast_ref()
    }

    pub(super) fn config(diagnostics: Vec<writ_plan::diagnostic::Diagnostic>) -> Self {
        let detail = diagnostics
            .first()
            .map(|d| format!("{}:{}:{} {}", d.file, d.line, d.column, d.message))
            .unwrap_or_default();
        Self {
            diagnostics,
            ..Self::new(Code::Malformed, detail)
        }
    }

    /// The stable code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What, where, and what to do.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What is wrong with a config, where a config is what is wrong.
    pub fn diagnostics(&self) -> &[writ_plan::diagnostic::Diagnostic] {
        &self.diagnostics
    }

    /// Whether the same request may succeed a moment later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self.code, Code::Unavailable)
    }
}

impl From<writ_store::Error> for Error {
    fn from(source: writ_store::Error) -> Self {
        let (code, detail) = match &source {
            writ_store::Error::Taken { constraint } => (Code::Conflict, format!("{constraint} is taken")),
            writ_store::Error::SchemaVersion { .. } => (
                Code::SchemaVersion,
                format!("{source}; run `writ-controller migrate`"),
            ),
            writ_store::Error::CommitUnknown { .. } => {
                (Code::Unavailable, format!("{source}; look before trying again"))
            }
            other if other.is_retryable() => (
                Code::Unavailable,
                "the database is not to be had for the moment; try again".to_owned(),
            ),
            other => (Code::Internal, other.to_string()),
        };
        Self {
            source: Some(Box::new(source)),
            ..Self::new(code, detail)
        }
    }
}

impl From<signer::Error> for Error {
    fn from(source: signer::Error) -> Self {
        let code = match &source {
            signer::Error::Bundle(error) => error.code(),
            _ => Code::Internal,
        };
        Self {
            detail: source.to_string(),
            source: Some(Box::new(source)),
            ..Self::new(code, "")
        }
    }
}

impl From<TrustError> for Error {
    fn from(source: TrustError) -> Self {
        let detail = source.to_string();
        Self {
            source: Some(Box::new(source)),
            ..Self::new(Code::SignatureInvalid, detail)
        }
    }
}

impl From<StatementError> for Error {
    fn from(source: StatementError) -> Self {
        let detail = source.to_string();
        Self {
            source: Some(Box::new(source)),
            ..Self::new(Code::SignatureInvalid, detail)
        }
    }
}
