//! Every number that both sides must agree on, in one place: sizes are checked before anything is allocated or parsed.

use std::time::Duration;

/// Version of the wire protocol spoken by this build.
pub const PROTOCOL_VERSION: u16 = 1;

/// Longest DSSE envelope accepted anywhere, bytes of JSON.
pub const ENVELOPE_BYTES_MAX: usize = 1 << 20;
/// Most signatures in one envelope.
pub const SIGNATURES_MAX: usize = 8;
/// Deepest nesting accepted in JSON or MessagePack.
pub const DEPTH_MAX: usize = 32;

/// Longest manifest envelope, bytes.
pub const MANIFEST_BYTES_MAX: usize = 128 << 10;
/// Most outstanding orders in one manifest; further orders wait in the controller's ledger.
pub const ORDERS_MAX: usize = 64;
/// Most halts carried by one manifest or hello reply.
pub const HALTS_MAX: usize = 32;
/// Lifts in one manifest or hello answer, and halts that one hello asks about.
pub const LIFTS_MAX: usize = 8;
/// Base64 text of all lifts of one manifest or answer, or of all halts of one hello, bytes: two of the longest statements fit.
pub const LIFTS_BYTES_MAX: usize = 64 << 10;
/// How long after a lift every manifest and answer carries it unasked. An agent that was away for longer says in its hello what it holds.
pub const LIFT_CARRIED: Duration = Duration::from_secs(3_600);

/// Largest bundle, bytes.
pub const BUNDLE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a bundle in one bus message.
pub const BUNDLE_CHUNK_BYTES: usize = 256 << 10;
/// Largest graph inside a bundle, bytes of MessagePack.
pub const GRAPH_BYTES_MAX: usize = 4 << 20;
/// Most resources in one graph.
pub const RESOURCES_MAX: usize = 20_000;
/// Most blobs in one bundle.
pub const BLOBS_MAX: usize = 4_096;

/// Largest payload of one journal frame, bytes.
pub const FRAME_PAYLOAD_MAX: usize = 192 << 10;
/// Most frames in one event batch.
pub const BATCH_FRAMES_MAX: usize = 100;
/// Most bytes of frames in one event batch.
pub const BATCH_BYTES_MAX: usize = 256 << 10;
/// Largest event batch message: frames, statement and framing.
pub const BATCH_MESSAGE_BYTES_MAX: usize = 320 << 10;
/// Longest an agent gathers records before it sends a batch.
pub const BATCH_LINGER: Duration = Duration::from_millis(20);
/// Most unacknowledged batches one agent has in flight.
pub const BATCHES_IN_FLIGHT: usize = 4;
/// After this long without a watermark a sent batch is sent again.
pub const RESEND_AFTER: Duration = Duration::from_secs(20);

/// Bytes of an artefact carried by one frame.
pub const BLOB_CHUNK_BYTES: usize = 128 << 10;
/// Largest artefact a step may declare, bytes.
pub const ARTEFACT_BYTES_MAX: u64 = 16 << 20;
/// Most artefacts of one step.
pub const ARTEFACTS_MAX: usize = 64;
/// Most bytes of a step's output kept (head and tail together).
pub const OUTPUT_BYTES_MAX: usize = 128 << 10;
/// Largest live log message, bytes.
pub const LOG_MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Longest request or reply of an RPC between agent and controller, bytes.
pub const RPC_BYTES_MAX: usize = 192 << 10;
/// Payload limit that the bus enforces on an agent's connection, bytes.
pub const AGENT_PAYLOAD_MAX: usize = 384 << 10;

/// Number of ingest shards: a shard is a token of the subject and a lease of the controllers.
pub const SHARDS: u8 = 16;

/// Hello interval told to agents unless the fleet is larger than it serves.
pub const HELLO_INTERVAL: Duration = Duration::from_secs(60);
/// Wall clocks further apart than this are not trusted for expiry.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);
/// Slack when comparing corrected wall clocks with `notBefore` and `expiresAt`.
pub const CLOCK_SLACK: Duration = Duration::from_secs(30);

/// Longest free text in a record or refusal, bytes.
pub const DETAIL_BYTES_MAX: usize = 2_048;
/// Longest name of a tenant, project, environment, resource or label, bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest path in a graph, bytes.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Most labels of one agent.
pub const LABELS_MAX: usize = 64;
