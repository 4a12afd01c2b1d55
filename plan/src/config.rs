//! What an author writes, as types: the shape of a config. Values are still text here; `compile` gives them their meaning.
//!
//! To add a resource type: a [`record!`] here, an arm in [`Item`], its translation in `compile`, and the regenerated schema.

mod external;
pub(crate) mod quantity;
mod system;

pub(crate) use external::{ExternalItem, ProviderItem};
pub(crate) use system::{GroupItem, PackageItem, ServiceItem, UserItem};

use crate::diagnostic::{Problem, Sink, code};
use crate::yaml::read::{Anything, Entries, Flag, FromNode, Integer, Text, record};
use crate::yaml::{Kind, Node};

/// The version of the config's form that this build reads.
pub const CONFIG_VERSION: i64 = 1;
/// Resource types of this version.
const TYPES: &[&str] = &[
    "file", "package", "service", "user", "group", "command", "external",
];
/// Fields that a config cannot do without.
const REQUIRED: &[&str] = &["version", "project", "targets", "resources"];

record! {
    /// A Writ config: what hosts should look like, and what may be spent on it.
    Config is "the config" {
        /// Version of the config's form: 1.
        #[schemars(required, extend("const" = 1))]
        version: Option<Integer>,
        /// Name of what is managed together.
        #[schemars(required, extend("type" = "string"))]
        project: Option<Text>,
        /// Which hosts the config is for.
        #[schemars(required)]
        targets: Option<Targets>,
        /// Limits of every resource that does not set its own.
        limits: Option<LimitSet>,
        /// What one run may cost, over all its hosts.
        budget: Option<BudgetSet>,
        /// How an apply spreads over its hosts; over all at once where it is not said.
        rollout: Option<RolloutSet>,
        /// How a run is carried out.
        runtime: Option<RuntimeSet>,
        /// Files whose `vars` and `resources` are part of the config, relative to this one and within its folder.
        include: Option<Vec<Text>>,
        /// Values for templates that everything else may replace.
        defaults: Option<Entries<Anything>>,
        /// Values for templates: `{{ name }}`.
        vars: Option<Entries<Anything>>,
        /// Programs that keep things of their own kinds in a state, by name: `external` resources name them.
        providers: Option<Entries<ProviderItem>>,
        /// What to keep in which state.
        #[schemars(required)]
        resources: Option<Vec<Item>>,
    }
}

record! {
    /// What a config includes.
    Fragment is "an included file" {
        /// Further files, relative to this one and within the config's folder.
        include: Option<Vec<Text>>,
        /// Values for templates.
        vars: Option<Entries<Anything>>,
        /// What to keep in which state.
        resources: Option<Vec<Item>>,
    }
}

record! {
    /// Which hosts: those with all these labels and, where hosts are listed, one of these names.
    Targets is "`targets`" {
        /// Labels that a host must have, all of them.
        labels: Option<Entries<Text>>,
        /// Names of hosts.
        hosts: Option<Vec<Text>>,
    }
}

record! {
    /// Upper bounds on one step.
    LimitSet is "`limits`" {
        /// Processor time of the whole process tree, such as `30s`.
        #[schemars(extend("type" = "string", "pattern" = "^[0-9]+(ms|s|m|h)$"))]
        cpu: Option<Text>,
        /// Memory, such as `256MiB`.
        #[schemars(extend("type" = "string", "pattern" = "^[0-9]+(B|KiB|MiB|GiB|TiB)$"))]
        memory: Option<Text>,
        /// Time from start to end, such as `2m`.
        #[schemars(extend("type" = "string", "pattern" = "^[0-9]+(ms|s|m|h)$"))]
        wall: Option<Text>,
        /// Processes and threads of the tree.
        #[schemars(extend("type" = "integer"))]
        processes: Option<Text>,
        /// Open files of one process.
        #[schemars(extend("type" = "integer"))]
        open_files: Option<Text>,
        /// Largest file that a process may write, such as `1GiB`.
        #[schemars(extend("type" = "string", "pattern" = "^[0-9]+(B|KiB|MiB|GiB|TiB)$"))]
        file_size: Option<Text>,
        /// Output kept, such as `64KiB`; the rest is counted and dropped.
        #[schemars(extend("type" = "string", "pattern" = "^[0-9]+(B|KiB|MiB|GiB|TiB)$"))]
        output: Option<Text>,
    }
}

record! {
    /// What one run may cost.
    BudgetSet is "`budget`" {
        /// At most six decimals, such as `0.50`.
        #[schemars(extend("type" = ["number", "string"], "pattern" = r"^[0-9]+(\.[0-9]{1,6})?$"))]
        amount: Text,
        /// ISO 4217 code, such as `USD`.
        #[schemars(extend("type" = "string", "pattern" = "^[A-Z]{3}$"))]
        currency: Text,
    }
}

record! {
    /// How an apply spreads over its hosts: numbers of hosts such as `10`, or parts of the run's targets such as `20%`, rounded down.
    RolloutSet is "`rollout`" {
        /// Most hosts at work at once; at least one. All of them unless said otherwise.
        #[schemars(extend("type" = ["integer", "string"], "pattern" = "^[0-9]+%?$"))]
        concurrency: Option<Text>,
        /// How many hosts may fail; with one more no further host is begun. None unless said otherwise.
        #[schemars(extend("type" = ["integer", "string"], "pattern" = "^[0-9]+%?$"))]
        error_threshold: Option<Text>,
        /// How many hosts in all are begun before the next are, each more than the one before: `[1, "10%", "100%"]`.
        #[schemars(extend("items" = { "type": ["integer", "string"], "pattern": "^[0-9]+%?$" }))]
        waves: Option<Vec<Text>>,
    }
}

record! {
    /// How a run is carried out.
    RuntimeSet is "`runtime`" {
        /// `strict` unless said otherwise; `dev-fast` for trials on one's own machine, whose artefacts no strict config takes.
        #[schemars(extend("type" = "string", "enum" = ["strict", "dev-fast"]))]
        mode: Option<Text>,
    }
}

record! {
    /// A file, directory or symbolic link, or its absence.
    FileItem is "`file`" {
        /// Absolute path on the host.
        #[schemars(extend("type" = "string"))]
        file: Text,
        /// What should be there; `file` unless said otherwise.
        #[schemars(extend("type" = "string", "enum" = ["file", "directory", "absent", "symlink"]))]
        state: Option<Text>,
        /// The content itself; `{{ name }}` is filled in from `vars`.
        content: Option<Text>,
        /// A template beside the config whose output is the content.
        #[schemars(extend("type" = "string"))]
        template: Option<Text>,
        /// A file beside the config whose bytes are the content.
        #[schemars(extend("type" = "string"))]
        source: Option<Text>,
        /// What a symbolic link says.
        #[schemars(extend("type" = "string"))]
        target: Option<Text>,
        /// Permission bits in octal, in quotes, such as `"0644"`.
        #[schemars(extend("type" = "string", "pattern" = "^[0-7]{3,4}$"))]
        mode: Option<Text>,
        /// Owner by name or number.
        #[schemars(extend("type" = ["string", "integer"]))]
        owner: Option<Text>,
        /// Group by name or number.
        #[schemars(extend("type" = ["string", "integer"]))]
        group: Option<Text>,
        /// Whether a file that is replaced or removed is kept beside it first, `.bak` at the end of its name; at most five of them.
        backup: Option<Flag>,
        /// Makes one of these for each item of a list of texts, or each entry of a mapping: `{{ each.key }}` and `{{ each.value }}` differ.
        #[schemars(extend("type" = ["string", "array", "object"]))]
        for_each: Option<Anything>,
        /// On which hosts it applies, by what they know of themselves: `os.id == "debian" and cpus >= 4`.
        #[schemars(extend("type" = "string"))]
        when: Option<Text>,
        /// Words by which a part of the config can be chosen: `writ plan --tags web`.
        tags: Option<Vec<Text>>,
        /// Ids of resources that must have succeeded before.
        depends_on: Option<Vec<Text>>,
        /// Ids of resources to trigger when this one changed something.
        notify: Option<Vec<Text>>,
        /// Limits that differ from the config's.
        limits: Option<LimitSet>,
    }
}

record! {
    /// A program to run.
    CommandItem is "`command`" {
        /// Name, unique among commands.
        command: Text,
        /// Program and arguments; no shell is involved. This or `shell`.
        argv: Option<Vec<Text>>,
        /// A text for `/bin/sh -c`, taken as it is written: values come by `env`. This or `argv`.
        #[schemars(extend("type" = "string"))]
        shell: Option<Text>,
        /// Working directory.
        #[schemars(extend("type" = "string"))]
        cwd: Option<Text>,
        /// Environment variables.
        env: Option<Entries<Text>>,
        /// Runs only while this path does not exist.
        #[schemars(extend("type" = "string"))]
        creates: Option<Text>,
        /// Runs only when this program exits 0.
        only_if: Option<Vec<Text>>,
        /// Does not run when this program exits 0.
        unless: Option<Vec<Text>>,
        /// Runs only when another resource notified it.
        when_notified: Option<Flag>,
        /// Exit codes that mean success; `[0]` unless said otherwise.
        exit_codes: Option<Vec<Integer>>,
        /// Whose rights it and its guards have; the agent's, which is nearly always root, unless said otherwise.
        #[schemars(extend("type" = "string"))]
        user: Option<Text>,
        /// What a crash in the middle means: run again, check and run again, or never start twice.
        #[schemars(extend("type" = "string", "enum" = ["idempotent", "checked", "once"]))]
        mode: Option<Text>,
        /// Least isolation from the host.
        #[schemars(extend("type" = "string", "enum" = ["none", "namespaces", "strict"]))]
        isolation: Option<Text>,
        /// Files to bring back, signed, when the program ran.
        artefacts: Option<Vec<Text>>,
        /// Where it may reach on the network: `example.com:443`, `.example.com:443` for every name below, `192.0.2.7:80`, `[2001:db8::7]:80`, `cidr:10.1.0.0/16:443`. Nowhere unless it is said here.
        egress: Option<Vec<Text>>,
        /// Makes one of these for each item of a list of texts, or each entry of a mapping: `{{ each.key }}` and `{{ each.value }}` differ.
        #[schemars(extend("type" = ["string", "array", "object"]))]
        for_each: Option<Anything>,
        /// On which hosts it applies, by what they know of themselves: `os.id == "debian" and cpus >= 4`.
        #[schemars(extend("type" = "string"))]
        when: Option<Text>,
        /// Words by which a part of the config can be chosen: `writ plan --tags web`.
        tags: Option<Vec<Text>>,
        /// Ids of resources that must have succeeded before.
        depends_on: Option<Vec<Text>>,
        /// Ids of resources to trigger when this one changed something.
        notify: Option<Vec<Text>>,
        /// Limits that differ from the config's.
        limits: Option<LimitSet>,
    }
}

/// One item of `resources`: its type is the key that names it.
#[derive(Debug, schemars::JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Item {
    /// `- file: /path`
    File(FileItem),
    /// `- command: name`
    Command(CommandItem),
    /// `- package: name`
    Package(PackageItem),
    /// `- service: name`
    Service(ServiceItem),
    /// `- user: name`
    User(UserItem),
    /// `- group: name`
    Group(GroupItem),
    /// `- external: name`
    External(ExternalItem),
    /// An item with a reported problem; its id, where it can be told, still counts as known.
    #[schemars(skip)]
    Broken(Option<(&'static str, Text)>),
}

/// What every item has, whatever its type.
pub(crate) struct Head<'a> {
    /// The type's name.
    pub(crate) kind: &'static str,
    /// What names it.
    pub(crate) name: &'a Text,
    /// What it is made for, one each.
    pub(crate) for_each: Option<&'a Node>,
    /// Where it applies.
    pub(crate) when: Option<&'a Text>,
    /// By what it can be chosen.
    pub(crate) tags: &'a [Text],
}

impl Item {
    /// What it has in common with every other; `None` where a problem was reported in it.
    pub(crate) fn head(&self) -> Option<Head<'_>> {
        let (kind, name, for_each, when, tags) = match self {
            Self::File(item) => ("file", &item.file, &item.for_each, &item.when, &item.tags),
            Self::Command(item) => ("command", &item.command, &item.for_each, &item.when, &item.tags),
            Self::Package(item) => ("package", &item.package, &item.for_each, &item.when, &item.tags),
            Self::Service(item) => ("service", &item.service, &item.for_each, &item.when, &item.tags),
            Self::User(item) => ("user", &item.user, &item.for_each, &item.when, &item.tags),
            Self::Group(item) => ("group", &item.group, &item.for_each, &item.when, &item.tags),
            Self::External(item) => ("external", &item.external, &item.for_each, &item.when, &item.tags),
            Self::Broken(_) => return None,
        };
        Some(Head {
            kind,
            name,
            for_each: for_each.as_ref().map(|list| &list.0),
            when: when.as_ref(),
            tags: tags.as_deref().unwrap_or_default(),
        })
    }
}

impl Config {
    /// Reads the shape of a config; what is missing or broken is reported and left out.
    pub(crate) fn read(root: &Node, sink: &mut Sink<'_>) -> Option<Self> {
        let config = Self::from_node(root, "config", sink)?;
        for name in REQUIRED.iter().filter(|name| root.get(name).is_none()) {
            sink.push(
                Problem::new(
                    code::MISSING_FIELD,
                    root.mark,
                    format!("the config needs the field `{name}`"),
                )
                .hint(match *name {
                    "version" => "begin with `version: 1`",
                    "project" => "name what is managed together: `project: web`",
                    "targets" => "say which hosts: `targets: { labels: { role: web } }`",
                    _ => "list what to keep in which state: `resources: [ … ]`",
                }),
            );
        }
        Some(config)
    }
}

impl FromNode for Item {
    fn from_node(node: &Node, _what: &str, sink: &mut Sink<'_>) -> Option<Self> {
        let item = match item_type(node, sink) {
            Some("file") => FileItem::from_node(node, "file", sink).map(Self::File),
            Some("package") => PackageItem::from_node(node, "package", sink).map(Self::Package),
            Some("service") => ServiceItem::from_node(node, "service", sink).map(Self::Service),
            Some("user") => UserItem::from_node(node, "user", sink).map(Self::User),
            Some("group") => GroupItem::from_node(node, "group", sink).map(Self::Group),
            Some("external") => ExternalItem::from_node(node, "external", sink).map(Self::External),
            Some(_) => CommandItem::from_node(node, "command", sink).map(Self::Command),
            None => None,
        };
        Some(item.unwrap_or_else(|| Self::Broken(probable_id(node))))
    }
}

/// Type and name of an item that has a problem, as far as they can be told.
fn probable_id(node: &Node) -> Option<(&'static str, Text)> {
    TYPES.iter().find_map(|kind| match node.get(kind)?.1 {
        Node {
            kind: Kind::Scalar { text, plain },
            mark,
        } => Some((
            *kind,
            Text {
                value: text.clone(),
                plain: *plain,
                mark: *mark,
            },
        )),
        _ => None,
    })
}

/// The type of an item: the key that is a type's name, the first one that is not also a field of the type before it, such as the `group`
/// of a `file`.
fn item_type(node: &Node, sink: &mut Sink<'_>) -> Option<&'static str> {
    let Kind::Map(entries) = &node.kind else {
        return crate::yaml::read::wrong_kind(node, "resources", "a mapping such as `file: /etc/motd`", sink);
    };
    let known = |text: &str| TYPES.iter().find(|name| **name == text).copied();
    let kinds: Vec<_> = entries
        .iter()
        .filter_map(|(key, _)| known(&key.text).map(|kind| (key, kind)))
        .collect();
    // Of several keys that name types, the type is the one that has the others as fields, wherever it stands.
    let owns_all = |kind: &str| {
        kinds
            .iter()
            .all(|(_, other)| *other == kind || fields(kind).contains(other))
    };
    if let Some((_, kind)) = kinds.iter().find(|(_, kind)| owns_all(kind)) {
        return Some(kind);
    }
    if let [(_, first), (key, kind), ..] = kinds.as_slice() {
        let message = format!("a resource is of one type, and this is both `{first}` and `{kind}`");
        sink.push(Problem::new(code::RESOURCE_TYPE, key.mark, message).hint("begin a new item with `- `"));
        return None;
    }
    let (mark, shown, word) = match entries.first() {
        Some((key, _)) => (
            key.mark,
            format!(
                "`{}` is no resource type",
                key.text.chars().take(80).collect::<String>()
            ),
            key.text.as_str(),
        ),
        None => (node.mark, "a resource needs a type".to_owned(), ""),
    };
    let problem =
        Problem::new(code::RESOURCE_TYPE, mark, shown).label(format!("types are: {}", TYPES.join(", ")));
    sink.push(
        problem
            .meant(word, TYPES.iter().copied())
            .hint("a resource begins with its type: `- file: /etc/motd`"),
    );
    None
}

/// The fields of a type.
fn fields(kind: &str) -> &'static [&'static str] {
    match kind {
        "file" => FileItem::FIELDS,
        "package" => PackageItem::FIELDS,
        "service" => ServiceItem::FIELDS,
        "user" => UserItem::FIELDS,
        "group" => GroupItem::FIELDS,
        "external" => ExternalItem::FIELDS,
        _ => CommandItem::FIELDS,
    }
}
