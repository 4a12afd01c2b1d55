//! Why a resource could not be observed or brought about. Every text names the path or the program, and what to do.

use std::io;

use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;

/// A provider's failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something at a path.
    #[error("failed to {action} {path:?}; {hint}")]
    Path {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// What to do.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The directory that should hold the path is missing.
    #[error(
        "{path:?} cannot be made: {parent:?} is not a directory; add a file resource with state directory for it and depend on it"
    )]
    ParentMissing {
        /// The path.
        path: String,
        /// The first directory that is missing.
        parent: String,
    },
    /// Something is there that is not replaced unasked.
    #[error(
        "{path:?} is a {got} where a {want} is wanted; nothing was changed: move it away or change the resource"
    )]
    WrongKind {
        /// The path.
        path: String,
        /// The kind wanted.
        want: &'static str,
        /// The kind there.
        got: String,
    },
    /// A directory that should go has something in it.
    #[error(
        "directory {path:?} is not empty and was not removed; remove what is in it, or manage its files as absent first"
    )]
    NotEmpty {
        /// The path.
        path: String,
    },
    /// A link on the way belongs to somebody who could point it elsewhere.
    #[error(
        "{path:?} leads through the symbolic link {link:?} of user {uid}, who could turn it; write the real path or give the link to root"
    )]
    ForeignLink {
        /// The path.
        path: String,
        /// The link.
        link: String,
        /// Its owner.
        uid: u32,
    },
    /// A user or group is not known on this host.
    #[error(
        "{kind} {name:?} for {path:?} is not in {database}; create it first and depend on that, or give its number"
    )]
    UnknownAccount {
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// For which path.
        path: String,
        /// Where it was looked for.
        database: &'static str,
    },
    /// The bundle lacks a file's content.
    #[error("the bundle has no blob {digest} for {path:?}; build the bundle again")]
    BlobMissing {
        /// For which path.
        path: String,
        /// Its digest.
        digest: Digest,
    },
    /// A guard gave no answer.
    #[error("guard {guard} of {id:?} gave no answer: {detail}; a guard must exit within {seconds} s")]
    Guard {
        /// The resource.
        id: String,
        /// `only_if` or `unless`.
        guard: &'static str,
        /// What it did.
        detail: String,
        /// Its time.
        seconds: u64,
    },
    /// A program was not run.
    #[error("failed to run {id:?}")]
    Sandbox {
        /// The resource.
        id: String,
        /// Why.
        #[source]
        source: writ_sandbox::Error,
    },
    /// A provider of the config did not do what a provider owes.
    #[error(
        "provider {provider:?}, asked for {kind:?} of {id:?}, {did}; try it by itself: writ provider test"
    )]
    Provider {
        /// The resource.
        id: String,
        /// What the config calls the provider.
        provider: String,
        /// The kind.
        kind: String,
        /// What it did instead.
        did: String,
        /// Whether it was ended at a limit.
        is_limit: bool,
    },
    /// A command names destinations and there is no proxy to reach them by.
    #[error("{id:?} names destinations and this agent has no proxy for it; nothing was run")]
    NoWayOut {
        /// The resource.
        id: String,
    },
    /// A command ended in a way that does not mean success.
    #[error("{id:?} ended with {ended}; wanted is exit code {wanted}")]
    Exit {
        /// The resource.
        id: String,
        /// How it ended.
        ended: String,
        /// Codes that mean success.
        wanted: String,
    },
    /// A command was ended at a limit.
    #[error("{id:?} was ended at its {limit} limit; raise the limit in the config if the work needs it")]
    Limit {
        /// The resource.
        id: String,
        /// Which limit.
        limit: String,
    },
    /// A command was stopped.
    #[error("{id:?} was stopped: {reason}")]
    Stopped {
        /// The resource.
        id: String,
        /// Why.
        reason: String,
    },
    /// A declared artefact cannot be brought back.
    #[error("artefact {path:?} is refused: {rule}")]
    Artefact {
        /// The path.
        path: String,
        /// The rule.
        rule: String,
    },
    /// A tool of the system is not on this host.
    #[error("{id:?} needs {tool}, which is not on this host; install {package}")]
    ToolMissing {
        /// The resource.
        id: String,
        /// The tool.
        tool: &'static str,
        /// What to install.
        package: &'static str,
    },
    /// A tool of the system ran and failed.
    #[error("{id:?}: {tool} ended with {ended} and said: {said}")]
    Tool {
        /// The resource.
        id: String,
        /// The tool.
        tool: String,
        /// How it ended.
        ended: String,
        /// Its last words.
        said: String,
    },
    /// Somebody else works on the database.
    #[error("{id:?}: {database} is locked by {holder}, waited {seconds} s; let that end, and run again")]
    Locked {
        /// The resource.
        id: String,
        /// Which database.
        database: &'static str,
        /// Who holds it.
        holder: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The host lacks what the resource is about.
    #[error("{id:?}: {problem}; {hint}")]
    Missing {
        /// The resource.
        id: String,
        /// What is missing.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A resource and an observation of another kind were put together.
    #[error("the observation is not one of {id:?}")]
    Mismatch {
        /// The resource.
        id: String,
    },
}

impl Error {
    /// Turns a kernel's refusal into an error that says what to do about it.
    pub(crate) fn at(action: &'static str, path: &str) -> impl FnOnce(rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        move |errno| {
            let hint = match errno {
                Errno::ACCESS | Errno::PERM => "run the agent as root or with the rights to do this",
                Errno::ROFS => "the file system is mounted read-only; remount it or choose another path",
                Errno::NOSPC | Errno::DQUOT => "the file system is full; free some space",
                Errno::NAMETOOLONG => "a part of the path is longer than the file system allows",
                Errno::LOOP => "too many symbolic links on the way",
                Errno::IO => "the disk reports an error; look at the kernel log",
                _ => "see the cause",
            };
            Self::Path {
                action,
                path: path.to_owned(),
                hint,
                source: errno.into(),
            }
        }
    }

    /// The stable code to report.
    pub const fn code(&self) -> Code {
        match self {
            Self::Sandbox { source, .. } => source.code(),
            Self::Limit { .. } | Self::Provider { is_limit: true, .. } => Code::LimitExceeded,
            Self::Stopped { .. } => Code::Halted,
            Self::NoWayOut { .. } => Code::IsolationUnavailable,
            Self::Artefact { .. } => Code::ArtefactRefused,
            Self::BlobMissing { .. } => Code::BundleUnavailable,
            Self::Mismatch { .. } => Code::Internal,
            Self::Path { .. }
            | Self::ParentMissing { .. }
            | Self::WrongKind { .. }
            | Self::NotEmpty { .. }
            | Self::ForeignLink { .. }
            | Self::UnknownAccount { .. }
            | Self::Guard { .. }
            | Self::Provider { .. }
            | Self::ToolMissing { .. }
            | Self::Tool { .. }
            | Self::Locked { .. }
            | Self::Missing { .. }
            | Self::Exit { .. } => Code::StepFailed,
        }
    }
}
