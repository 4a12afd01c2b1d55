//! Names of refusals: the innermost cause as `layer/variant`, so that a vector says why without quoting a sentence.

use writ_protocol::batch::BatchError;
use writ_protocol::bundle::BundleError;
use writ_protocol::codec::CodecError;
use writ_protocol::envelope::EnvelopeError;
use writ_protocol::evidence::verify::Fault;
use writ_protocol::frame::FrameError;
use writ_protocol::graph::GraphError;
use writ_protocol::hello::AnswerError;
use writ_protocol::key::KeyError;
use writ_protocol::manifest::AdmitError;
use writ_protocol::nats::NkeyError;
use writ_protocol::reason::Code;
use writ_protocol::statement::StatementError;
use writ_protocol::trust::TrustError;

use super::Refusal;

/// An error of the protocol with a name.
pub(super) trait Named {
    /// The innermost cause.
    fn name(&self) -> &'static str;

    /// The stable code, where the layer gives one.
    fn code(&self) -> Option<Code> {
        None
    }
}

impl<E: Named> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self {
            error: error.name().to_owned(),
            code: error.code(),
        }
    }
}

impl Named for CodecError {
    fn name(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "codec/too-long",
            Self::TooDeep { .. } => "codec/too-deep",
            Self::Malformed { .. } => "codec/malformed",
            Self::Trailing { .. } => "codec/trailing",
        }
    }
}

impl Named for EnvelopeError {
    fn name(&self) -> &'static str {
        match self {
            Self::Codec(inner) => inner.name(),
            Self::Base64 { .. } => "envelope/base64",
            Self::SignatureCount { .. } => "envelope/signature-count",
            Self::Untrusted { .. } => "envelope/untrusted",
            Self::PayloadType { .. } => "envelope/payload-type",
            Self::NotCanonical => "envelope/not-canonical",
        }
    }
}

impl Named for StatementError {
    fn name(&self) -> &'static str {
        match self {
            Self::Envelope(inner) => inner.name(),
            Self::Codec(inner) => inner.name(),
            Self::Type { .. } => "statement/type",
            Self::Subjects => "statement/subjects",
        }
    }
}

impl Named for TrustError {
    fn name(&self) -> &'static str {
        match self {
            Self::Statement(inner) => inner.name(),
            Self::WrongRoot { .. } => "trust/wrong-root",
            Self::NotValidNow { .. } => "trust/not-valid-now",
            Self::NoKeys { .. } => "trust/no-keys",
            Self::TooFewPrincipals { .. } => "trust/too-few-principals",
            Self::Regress { .. } => "trust/regress",
            Self::WrongTenant { .. } => "trust/wrong-tenant",
        }
    }
}

impl Named for AdmitError {
    fn name(&self) -> &'static str {
        match self {
            Self::Trust(inner) => inner.name(),
            Self::WrongTenant { .. } => "manifest/wrong-tenant",
            Self::WrongAgent { .. } => "manifest/wrong-agent",
            Self::Expired { .. } => "manifest/expired",
            Self::Regressed { .. } => "manifest/regressed",
            Self::Invalid { .. } => "manifest/invalid",
        }
    }

    fn code(&self) -> Option<Code> {
        Some(Self::code(self))
    }
}

impl Named for GraphError {
    fn name(&self) -> &'static str {
        match self {
            Self::Codec(inner) => inner.name(),
            Self::Rule { .. } => "graph/rule",
        }
    }
}

impl Named for BundleError {
    fn name(&self) -> &'static str {
        match self {
            Self::Codec(inner) => inner.name(),
            Self::Digest { .. } => "bundle/digest",
            Self::Trust(inner) => inner.name(),
            Self::Statement(inner) => inner.name(),
            Self::Mismatch { .. } => "bundle/mismatch",
            Self::Graph(inner) => inner.name(),
        }
    }

    fn code(&self) -> Option<Code> {
        Some(Self::code(self))
    }
}

impl Named for FrameError {
    fn name(&self) -> &'static str {
        match self {
            Self::Short { .. } => "frame/short",
            Self::TooLong { .. } => "frame/too-long",
            Self::Checksum => "frame/checksum",
            Self::Form => "frame/form",
        }
    }
}

impl Named for BatchError {
    fn name(&self) -> &'static str {
        match self {
            Self::Codec(inner) => inner.name(),
            Self::Trust(inner) => inner.name(),
            Self::Statement(inner) => inner.name(),
            Self::Frame { source, .. } => source.name(),
            Self::Mismatch { .. } => "batch/mismatch",
        }
    }
}

impl Named for AnswerError {
    fn name(&self) -> &'static str {
        match self {
            Self::Trust(inner) => inner.name(),
            Self::WrongAgent { .. } => "hello/wrong-agent",
            Self::Nonce => "hello/nonce",
        }
    }

    fn code(&self) -> Option<Code> {
        Some(Self::code(self))
    }
}

impl Named for NkeyError {
    fn name(&self) -> &'static str {
        match self {
            Self::Form => "nkey/form",
            Self::Kind { .. } => "nkey/kind",
            Self::Key(inner) => inner.name(),
        }
    }
}

impl Named for KeyError {
    fn name(&self) -> &'static str {
        match self {
            Self::BadPublicKey => "key/bad-public-key",
            Self::BadPrivateKey => "key/bad-private-key",
            Self::NoRandomness => "key/no-randomness",
        }
    }
}

impl Named for Fault {
    fn name(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "pack/invalid",
            Self::Incomplete(_) => "pack/incomplete",
        }
    }

    fn code(&self) -> Option<Code> {
        Some(Self::code(self))
    }
}
