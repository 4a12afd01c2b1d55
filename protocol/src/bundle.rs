//! The bundle: an immutable, content-addressed, signed package of a graph and its files.
//!
//! Wire form: a MessagePack map `{v, statement, graph, blobs}`. The statement (role `plan`) names the graph's digest and every blob's; the
//! whole is named by the SHA-256 of its bytes. An agent checks, in this order: length and digest, signature, every part's digest, and only then
//! decodes the graph.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::codec::{self, CodecError};
use crate::digest::Digest;
use crate::graph::{Graph, GraphError};
use crate::key::SigningKey;
use crate::limits::{BLOBS_MAX, BUNDLE_BYTES_MAX};
use crate::manifest::BundleRef;
use crate::reason::Code;
use crate::statement::{self, Predicate, StatementError, Subject};
use crate::time::Timestamp;
use crate::trust::{Keyring, Role, TrustError};

/// What the plan key says about a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleStatement {
    /// The tenant it was made for.
    pub tenant: String,
    /// The project.
    pub project: String,
    /// Digest of the config it was compiled from.
    pub config_digest: Digest,
    /// Digest of the graph's bytes.
    pub graph_digest: Digest,
    /// Who submitted the config.
    pub author: String,
    /// When it was signed.
    pub issued_at: Timestamp,
}

impl Predicate for BundleStatement {
    const TYPE: &'static str = "https://writ.dev/bundle/v1";
    const ROLE: Role = Role::Plan;
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u16,
    #[serde(with = "serde_bytes")]
    statement: Vec<u8>,
    #[serde(with = "serde_bytes")]
    graph: Vec<u8>,
    #[serde(deserialize_with = "codec::unique_map")]
    blobs: BTreeMap<Digest, ByteBuf>,
}

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The bytes are no bundle.
    #[error("bundle is not readable")]
    Codec(#[from] CodecError),
    /// Length or digest differ from what was ordered.
    #[error("bundle bytes do not match {wanted}")]
    Digest {
        /// What was ordered.
        wanted: Digest,
    },
    /// The statement does not verify.
    #[error("bundle does not verify")]
    Trust(#[from] TrustError),
    /// The statement could not be made.
    #[error("bundle cannot be signed")]
    Statement(#[from] StatementError),
    /// The statement and the parts differ.
    #[error("bundle contradicts its statement: {rule}")]
    Mismatch {
        /// What does not fit.
        rule: &'static str,
    },
    /// The graph inside breaks a rule.
    #[error("the bundle's graph is refused")]
    Graph(#[from] GraphError),
}

impl BundleError {
    /// The code for the record of the refusal.
    pub const fn code(&self) -> Code {
        match self {
            Self::Codec(_) => Code::Malformed,
            Self::Digest { .. } | Self::Mismatch { .. } => Code::DigestMismatch,
            Self::Trust(_) | Self::Statement(_) => Code::SignatureInvalid,
            Self::Graph(_) => Code::GraphInvalid,
        }
    }
}

/// A bundle whose signature and every digest were checked, with its graph decoded.
#[derive(Clone, Debug)]
pub struct Bundle {
    statement: BundleStatement,
    graph: Graph,
    blobs: BTreeMap<Digest, ByteBuf>,
}

impl Bundle {
    /// What the plan key says.
    pub const fn statement(&self) -> &BundleStatement {
        &self.statement
    }

    /// The graph.
    pub const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// A file by digest.
    pub fn blob(&self, digest: &Digest) -> Option<&[u8]> {
        self.blobs.get(digest).map(|bytes| bytes.as_slice())
    }
}

/// Packs and signs a bundle; gives its bytes and its name.
///
/// `statement.graph_digest` is filled in. The blobs must be exactly those the graph needs.
///
/// # Errors
/// [`BundleError`].
pub fn build(
    mut statement: BundleStatement,
    graph: &Graph,
    blobs: BTreeMap<Digest, Vec<u8>>,
    key: &SigningKey,
) -> Result<(Vec<u8>, BundleRef), BundleError> {
    let graph_bytes = graph.encode()?;
    statement.graph_digest = Digest::of(&graph_bytes);
    check_blobs(graph, blobs.iter().map(|(d, b)| (d, b.as_slice())))?;
    let mut subject = vec![Subject::new("graph", &statement.graph_digest)];
    subject.extend(
        blobs
            .keys()
            .map(|digest| Subject::new(format!("blob/{digest}"), digest)),
    );
    let envelope = statement::sign(subject, statement, &[key])?;
    let wire = Wire {
        v: 1,
        statement: envelope.to_json().map_err(StatementError::from)?,
        graph: graph_bytes,
        blobs: blobs
            .into_iter()
            .map(|(digest, bytes)| (digest, ByteBuf::from(bytes)))
            .collect(),
    };
    let bytes = codec::to_msgpack("bundle", &wire)?;
    if bytes.len() > BUNDLE_BYTES_MAX {
        return Err(CodecError::TooLong {
            what: "bundle",
            len: bytes.len(),
            max: BUNDLE_BYTES_MAX,
        }
        .into());
    }
    let name = BundleRef {
        digest: Digest::of(&bytes),
        length: bytes.len() as u64,
    };
    Ok((bytes, name))
}

/// Checks received bytes against the name in an order, verifies and decodes them.
///
/// # Errors
/// [`BundleError`].
pub fn open(bytes: &[u8], name: &BundleRef, keyring: &Keyring, at: Timestamp) -> Result<Bundle, BundleError> {
    if bytes.len() as u64 != name.length || bytes.len() > BUNDLE_BYTES_MAX || Digest::of(bytes) != name.digest
    {
        return Err(BundleError::Digest { wanted: name.digest });
    }
    let wire: Wire = codec::from_msgpack("bundle", bytes, BUNDLE_BYTES_MAX)?;
    if wire.v != 1 {
        return Err(BundleError::Mismatch {
            rule: "the version is not 1",
        });
    }
    let verified = keyring.open::<BundleStatement>(&wire.statement, at)?;
    if verified.predicate.tenant != keyring.tenant() {
        return Err(BundleError::Mismatch {
            rule: "it was made for another tenant",
        });
    }
    let graph_digest = Digest::of(&wire.graph);
    if verified.predicate.graph_digest != graph_digest || !verified.names(&graph_digest) {
        return Err(BundleError::Mismatch {
            rule: "the graph is another one",
        });
    }
    if wire.blobs.keys().any(|digest| !verified.names(digest)) {
        return Err(BundleError::Mismatch {
            rule: "a file is not named by the statement",
        });
    }
    let graph = Graph::decode(&wire.graph)?;
    check_blobs(&graph, wire.blobs.iter().map(|(d, b)| (d, b.as_slice())))?;
    Ok(Bundle {
        statement: verified.into_inner().predicate,
        graph,
        blobs: wire.blobs,
    })
}

fn check_blobs<'a>(
    graph: &Graph,
    blobs: impl Iterator<Item = (&'a Digest, &'a [u8])>,
) -> Result<(), BundleError> {
    let mut wanted = graph.blobs();
    let mut count = 0;
    for (digest, bytes) in blobs {
        count += 1;
        if Digest::of(bytes) != *digest {
            return Err(BundleError::Mismatch {
                rule: "a file's bytes do not match its digest",
            });
        }
        if wanted
            .remove(digest)
            .is_some_and(|length| length != bytes.len() as u64)
        {
            return Err(BundleError::Mismatch {
                rule: "a file's length differs from the graph's",
            });
        }
    }
    if count > BLOBS_MAX {
        return Err(BundleError::Mismatch {
            rule: "more files than a bundle may have",
        });
    }
    if !wanted.is_empty() {
        return Err(BundleError::Mismatch {
            rule: "a file that the graph needs is missing",
        });
    }
    Ok(())
}
