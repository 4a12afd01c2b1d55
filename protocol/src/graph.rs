//! The graph: what a config compiles to and an agent carries out. Typed, validated, in a stable order, the same bytes on every machine.
//!
//! `writ-plan` makes graphs, agents run them; [`Graph::validate`] holds what both may rely on, and an agent calls it again on what it received.

mod check;
mod condition;
mod external;
mod selection;
mod system;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::digest::Digest;
use crate::egress::Destination;
use crate::exec::{Isolation, Limits, RunMode, StepMode};
use crate::limits::{GRAPH_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, RESOURCES_MAX};

pub use condition::{
    CONDITION_DEPTH_MAX, CONDITION_PARTS_MAX, CONDITION_VALUE_BYTES_MAX, CONDITION_VALUES_MAX, Comparison,
    Condition, Fact, Facts,
};
pub use external::{
    ExternalSpec, PROGRAM_BYTES_MAX, WANTED_BYTES_MAX, WANTED_DEPTH_MAX, WANTED_NODES_MAX, Wanted,
    check_wanted,
};
pub use selection::{SELECTION_WORDS_MAX, Selection};
pub use system::{
    ACCOUNT_BYTES_MAX, COMMENT_BYTES_MAX, GroupSpec, GroupState, Login, MEMBERS_MAX, OnNotify,
    PASSWORD_HASH_BYTES_MAX, PackageManager, PackageSpec, PackageState, ServiceManager, ServiceSpec,
    UserSpec, UserState, check_account_name, check_comment, check_package_name, check_password_hash,
    check_service_name, check_version,
};

/// Version of the graph's own form.
pub const GRAPH_VERSION: u16 = 1;

/// A validated, ordered set of resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Graph {
    /// [`GRAPH_VERSION`].
    pub version: u16,
    /// The project whose hosts it describes.
    pub project: String,
    /// Resources in the order in which they run: a resource stands after all that it depends on; ids break ties.
    pub resources: Vec<Resource>,
    /// Which part of its config it is; the whole where absent, and then left out of the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// What its config asks of a run; left out of the bytes where that is everything.
    #[serde(default, skip_serializing_if = "RunMode::is_strict")]
    pub mode: RunMode,
}

/// One thing to keep in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// `type:name`, unique in the graph, such as `file:/etc/motd` or `command:build`.
    pub id: String,
    /// Ids of resources that must have succeeded before this one starts.
    pub depends_on: Vec<String>,
    /// Ids of resources to trigger when this one changed something.
    pub notify: Vec<String>,
    /// On which hosts it applies; on all of them where absent, and then left out of the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// Bounds on the step.
    pub limits: Limits,
    /// What a crash means for it.
    pub mode: StepMode,
    /// What it is.
    pub spec: Spec,
}

/// The kinds of resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Spec {
    /// A file, directory, symbolic link, or its absence.
    File(FileSpec),
    /// A program to run.
    Command(CommandSpec),
    /// A package of the host's package manager.
    Package(PackageSpec),
    /// A service of the host's init.
    Service(ServiceSpec),
    /// A user of the host's own files.
    User(UserSpec),
    /// A group of the host's own files.
    Group(GroupSpec),
    /// A thing that a provider of the config keeps in a state.
    External(ExternalSpec),
}

/// A path of the host and what should be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSpec {
    /// Absolute path without `.` or `..` parts.
    pub path: String,
    /// What should be there.
    pub state: FileState,
    /// Permission bits, 0 to 0o7777; unchanged where absent.
    pub mode: Option<u32>,
    /// Owner by name or number; unchanged where absent.
    pub owner: Option<String>,
    /// Group by name or number; unchanged where absent.
    pub group: Option<String>,
    /// Whether a regular file that is replaced or removed is kept beside it first. Left out of the bytes when it is not wanted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub backup: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What should be at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FileState {
    /// A regular file with these bytes: a blob of the bundle, by digest.
    Content {
        /// Digest of the bytes.
        digest: Digest,
        /// Their number.
        length: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink {
        /// The text of the link.
        target: String,
    },
    /// Nothing.
    Absent,
}

/// A program to run, unless a guard says that there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandSpec {
    /// Program and arguments; the program by absolute path or looked up in `PATH` of the step's environment.
    pub argv: Vec<String>,
    /// Working directory; `/` where absent.
    pub cwd: Option<String>,
    /// The whole environment besides `PATH`, `HOME`, `LANG`, with `user` `USER` and `LOGNAME`, `WRIT_RUN_ID`, `WRIT_ORDER_ID` and `WRIT_IDEMPOTENCY_KEY`.
    #[serde(deserialize_with = "codec::unique_map")]
    pub env: BTreeMap<String, String>,
    /// Runs only while this path does not exist.
    pub creates: Option<String>,
    /// Runs only when this program exits 0.
    pub only_if: Option<Vec<String>>,
    /// Does not run when this program exits 0.
    pub unless: Option<Vec<String>>,
    /// Runs only when another resource notified it.
    pub only_when_notified: bool,
    /// Exit codes that mean success.
    pub exit_codes: Vec<i32>,
    /// Least isolation; less on the host is a refusal.
    pub isolation: Isolation,
    /// Files to bring back as artefacts when it ran, absolute paths.
    pub artefacts: Vec<String>,
    /// Whose rights it and its guards have, by name; the agent's where absent, and then left out of the bytes. Not with [`Isolation::Strict`], which has
    /// ids of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where it may reach on the network, sorted, each once; nowhere where absent, and then left out of the bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Destination>,
}

/// Why a graph was refused.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The bytes are no graph.
    #[error("graph is not readable")]
    Codec(#[from] CodecError),
    /// Something in it breaks a rule.
    #[error("resource {id:?}: {rule}")]
    Rule {
        /// The resource.
        id: String,
        /// The rule, in words.
        rule: String,
    },
}

impl Graph {
    /// The canonical bytes, validated.
    ///
    /// # Errors
    /// [`GraphError`].
    pub fn encode(&self) -> Result<Vec<u8>, GraphError> {
        self.validate()?;
        let bytes = codec::to_msgpack("graph", self)?;
        if bytes.len() > GRAPH_BYTES_MAX {
            return Err(CodecError::TooLong {
                what: "graph",
                len: bytes.len(),
                max: GRAPH_BYTES_MAX,
            }
            .into());
        }
        Ok(bytes)
    }

    /// Reads and validates a graph.
    ///
    /// # Errors
    /// [`GraphError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, GraphError> {
        let graph: Self = codec::from_msgpack("graph", bytes, GRAPH_BYTES_MAX)?;
        graph.validate()?;
        Ok(graph)
    }

    /// Checks every rule: version, sizes, unique ids, dependencies that stand before their users, clean paths.
    ///
    /// # Errors
    /// [`GraphError::Rule`] with the first broken one.
    pub fn validate(&self) -> Result<(), GraphError> {
        if self.version != GRAPH_VERSION {
            return Err(rule(
                "",
                &format!("graph version {} is not {GRAPH_VERSION}", self.version),
            ));
        }
        if self.resources.len() > RESOURCES_MAX {
            return Err(rule("", &format!("more than {RESOURCES_MAX} resources")));
        }
        if let Some(Err(text)) = self.selection.as_ref().map(Selection::validate) {
            return Err(rule("", &text));
        }
        let all: BTreeSet<&str> = self.resources.iter().map(|r| r.id.as_str()).collect();
        let mut before: BTreeSet<&str> = BTreeSet::new();
        for resource in &self.resources {
            resource.validate()?;
            if let Some(missing) = resource
                .depends_on
                .iter()
                .find(|id| !before.contains(id.as_str()))
            {
                return Err(rule(
                    &resource.id,
                    &format!("depends on {missing:?}, which does not stand before it"),
                ));
            }
            if let Some(missing) = resource.notify.iter().find(|id| !all.contains(id.as_str())) {
                return Err(rule(
                    &resource.id,
                    &format!("notifies {missing:?}, which does not exist"),
                ));
            }
            if !before.insert(&resource.id) {
                return Err(rule(&resource.id, "the id stands twice"));
            }
        }
        Ok(())
    }

    /// Digests of all blobs that the graph needs from its bundle.
    pub fn blobs(&self) -> BTreeMap<Digest, u64> {
        let contents = self.resources.iter().filter_map(|resource| match &resource.spec {
            Spec::File(FileSpec {
                state: FileState::Content { digest, length },
                ..
            }) => Some((*digest, *length)),
            Spec::External(external) => Some((external.program, external.length)),
            _ => None,
        });
        contents.collect()
    }
}

impl Resource {
    /// What is seen of a resource on a host where it does not apply: that, and nothing of the host.
    pub fn not_applying() -> Digest {
        Digest::of(b"writ not applying v1\n")
    }

    fn validate(&self) -> Result<(), GraphError> {
        let refuse = |text: &str| Err(rule(&self.id, text));
        if self.id.is_empty()
            || self.id.len() > NAME_BYTES_MAX + PATH_BYTES_MAX
            || self.id.chars().any(char::is_control)
        {
            return refuse("the id is empty, too long or has control characters");
        }
        let own = match &self.spec {
            Spec::File(file) => file.validate(),
            Spec::Command(command) => command.validate(),
            Spec::Package(package) => package.validate(),
            Spec::Service(service) => service.validate(),
            Spec::User(user) => user.validate(),
            Spec::Group(group) => group.validate(),
            Spec::External(external) => external.validate(),
        };
        own.and_then(|()| self.when.as_ref().map_or(Ok(()), Condition::validate))
            .or_else(|text| refuse(&text))
    }
}

/// Whether a path is absolute, clean and of bounded length.
///
/// # Errors
/// The rule that it breaks, in words.
pub fn check_path(path: &str) -> Result<(), String> {
    let shown: String = path.chars().take(80).collect();
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("path {shown:?} is longer than {PATH_BYTES_MAX} bytes"));
    }
    if !path.starts_with('/') || path.contains('\0') {
        return Err(format!("path {shown:?} is not absolute, or holds a zero byte"));
    }
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    if path != "/" && parts.any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(format!("path {shown:?} has an empty, . or .. part"));
    }
    Ok(())
}

fn rule(id: &str, text: &str) -> GraphError {
    GraphError::Rule {
        id: id.chars().take(128).collect(),
        rule: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, depends_on: &[&str]) -> Resource {
        let spec = FileSpec {
            path: path.into(),
            state: FileState::Directory,
            mode: Some(0o755),
            owner: None,
            group: None,
            backup: false,
        };
        Resource {
            id: format!("file:{path}"),
            depends_on: depends_on.iter().map(|s| (*s).to_owned()).collect(),
            notify: vec![],
            when: None,
            limits: Limits::default(),
            mode: StepMode::Checked,
            spec: Spec::File(spec),
        }
    }

    fn graph(resources: Vec<Resource>) -> Graph {
        Graph {
            version: GRAPH_VERSION,
            project: "web".into(),
            resources,
            selection: None,
            mode: RunMode::Strict,
        }
    }

    #[test]
    fn graphs_read_back_and_equal_graphs_have_equal_bytes() {
        let graph = graph(vec![file("/a", &[]), file("/a/b", &["file:/a"])]);
        let bytes = graph.encode().expect("encodes");
        assert_eq!(Graph::decode(&bytes).expect("decodes"), graph);
        assert_eq!(graph.clone().encode().expect("encodes"), bytes);
    }

    #[test]
    fn a_graph_of_words_that_are_not_known_is_refused_by_their_name() {
        let bytes = graph(vec![file("/a", &[])]).encode().expect("encodes");
        let at = bytes
            .windows(5)
            .position(|word| word == b"\xa4file")
            .expect("is there");
        let mut later = bytes;
        later[at + 1..at + 5].copy_from_slice(b"moon");
        let told = Graph::decode(&later).expect_err("is refused");
        let GraphError::Codec(error) = told else {
            panic!("{told}");
        };
        assert!(error.to_string().contains("unknown variant `moon`"), "{error}");
    }

    #[test]
    fn order_ids_and_paths_are_checked() {
        for (bad, why) in [
            (
                graph(vec![file("/a/b", &["file:/a"]), file("/a", &[])]),
                "dependency after its user",
            ),
            (graph(vec![file("/a", &[]), file("/a", &[])]), "id twice"),
            (graph(vec![file("a", &[])]), "relative path"),
            (graph(vec![file("/a/../b", &[])]), "dotted path"),
            (graph(vec![file("/", &[])]), "root"),
        ] {
            assert!(
                matches!(bad.encode(), Err(GraphError::Rule { .. })),
                "{why} went through"
            );
        }
    }

    #[test]
    fn a_part_is_what_was_asked_for_and_what_it_tells() {
        let mut whole = graph(vec![
            file("/base", &[]),
            file("/site", &["file:/base"]),
            file("/told", &["file:/site"]),
            file("/next", &["file:/told", "file:/base"]),
            file("/other", &[]),
        ]);
        whole.resources[1].notify = vec!["file:/told".into()];
        whole.resources[2].notify = vec!["file:/next".into()];
        let part = |wanted: &[&str]| {
            let wanted = wanted.iter().copied().collect();
            let part = whole.part(&wanted)?;
            let bytes = part.encode().expect("encodes");
            assert_eq!(Graph::decode(&bytes).expect("decodes"), part);
            Some(part)
        };
        let told = part(&["file:/site"]).expect("is there");
        let ids: Vec<&str> = told.resources.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["file:/site", "file:/told", "file:/next"]);
        // What is not in the part is not waited for.
        assert!(told.resources[0].depends_on.is_empty());
        assert_eq!(told.resources[2].depends_on, ["file:/told"]);
        assert_eq!(told.resources[2].spec, whole.resources[3].spec);
        let selection = told.selection.expect("it is a part");
        assert_eq!(
            (&selection.targets[..], selection.left_out),
            (&["file:/site".to_owned()][..], 2)
        );
        // Even all of it is a part: who reads it must not take it for what its config says.
        let ids = [
            "file:/base",
            "file:/site",
            "file:/told",
            "file:/next",
            "file:/other",
        ];
        assert!(part(&ids).is_some_and(|all| all.selection.is_some()));
        assert!(part(&["file:/none"]).is_none() && part(&[]).is_none());
        assert_eq!(
            part(&["file:/none", "file:/other"])
                .expect("one is")
                .resources
                .len(),
            1
        );
    }
}
