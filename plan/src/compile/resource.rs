//! One item of `resources` to one resource of the graph.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::egress::{DESTINATIONS_MAX, Destination};
use writ_protocol::exec::{Isolation, StepMode};
use writ_protocol::graph::{self, CommandSpec, FileSpec, FileState, Spec};
use writ_protocol::limits::ARTEFACTS_MAX;

use super::{Draft, Named, Room, check, content, settings, shell};
use crate::config::{CommandItem, FileItem, quantity};
use crate::diagnostic::{Mark, Problem, Sink, code};
use crate::yaml::read::{Text, Whole as _};

/// Most words of an `argv`, `only_if` or `unless`, variables of an `env`, and references of one resource.
const WORDS_MAX: usize = 1_024;
/// Most bytes of one `argv` or `env`: what the kernel takes for one word.
pub(super) const WORDS_BYTES_MAX: usize = 128 << 10;
/// What begins the names of variables that the agent sets.
const OWN_VARIABLES: &str = "WRIT_";

#[derive(Clone, Copy)]
enum Wanted {
    File,
    Directory,
    Absent,
    Symlink,
}

const FILE_STATES: &[(&str, Wanted)] = &[
    ("file", Wanted::File),
    ("directory", Wanted::Directory),
    ("absent", Wanted::Absent),
    ("symlink", Wanted::Symlink),
];
const MODES: &[(&str, StepMode)] = &[
    ("idempotent", StepMode::Idempotent),
    ("checked", StepMode::Checked),
    ("once", StepMode::Once),
];
const ISOLATIONS: &[(&str, Isolation)] = &[
    ("none", Isolation::None),
    ("namespaces", Isolation::Namespaces),
    ("strict", Isolation::Strict),
];

/// A file resource; `None` after problems were reported.
pub(super) fn file(file: &FileItem, room: &mut Room<'_, '_>) -> Option<Draft> {
    let path = path(&file.file, room);
    if path.as_deref() == Some("/") {
        room.sink.push(Problem::new(
            code::PATH,
            file.file.mark,
            "the root directory cannot be managed",
        ));
    }
    let wanted = match &file.state {
        Some(text) => check::choice(text, "state", FILE_STATES, room.sink),
        None => Some(Wanted::File),
    };
    let state = wanted.and_then(|wanted| file_state(file, wanted, room));
    let mode = file
        .mode
        .as_ref()
        .and_then(|text| permission_bits(text, room.sink));
    let owner = account(file.owner.as_ref(), "owner", room);
    let group = account(file.group.as_ref(), "group", room);
    let limits = settings::limits(file.limits.as_ref(), room.limits, room.sink);
    let path = path?;
    let id = format!("file:{path}");
    let references = References {
        depends_on: file.depends_on.as_deref(),
        notify: file.notify.as_deref(),
    };
    let (depends_on, notify) = references.read(&id, room);
    let spec = Spec::File(FileSpec {
        path,
        state: state?,
        mode,
        owner,
        group,
        backup: file.backup.is_some_and(|flag| flag.value),
    });
    Some(Draft {
        id,
        mark: file.file.mark,
        depends_on,
        notify,
        when: None,
        tags: BTreeSet::new(),
        limits,
        mode: StepMode::Checked,
        spec,
    })
}

fn file_state(file: &FileItem, wanted: Wanted, room: &mut Room<'_, '_>) -> Option<FileState> {
    let contents = [
        ("content", &file.content),
        ("template", &file.template),
        ("source", &file.source),
    ];
    let target = [("target", &file.target)];
    let rights = [
        ("mode", &file.mode),
        ("owner", &file.owner),
        ("group", &file.group),
    ];
    match wanted {
        Wanted::File => {
            without(&target, "a file", room.sink)?;
            content::state(file, room)
        }
        Wanted::Directory => {
            without(&contents, "a directory", room.sink)?;
            without(&target, "a directory", room.sink)?;
            Some(FileState::Directory)
        }
        Wanted::Absent => {
            without(&contents, "what is absent", room.sink)?;
            without(&target, "what is absent", room.sink)?;
            without(&rights, "what is absent", room.sink)?;
            Some(FileState::Absent)
        }
        Wanted::Symlink => {
            without(&contents, "a symbolic link", room.sink)?;
            without(&rights[..1], "a symbolic link", room.sink)?;
            let Some(target) = &file.target else {
                let problem = Problem::new(
                    code::MISSING_FIELD,
                    file.file.mark,
                    "a symbolic link needs the field `target`",
                );
                room.sink.push(problem);
                return None;
            };
            let text = room.renderer.text(target, room.sink)?;
            check::link_target(text, target.mark, room.sink).map(|target| FileState::Symlink { target })
        }
    }
}

/// Reports fields that do not belong to what is described.
fn without(fields: &[(&str, &Option<Text>)], what: &str, sink: &mut Sink<'_>) -> Option<()> {
    let mut good = Some(());
    for (name, field) in fields {
        if let Some(text) = field {
            sink.push(
                Problem::new(code::CONTRADICTION, text.mark, format!("{what} has no `{name}`"))
                    .hint("remove it, or change `state`"),
            );
            good = None;
        }
    }
    good
}

fn permission_bits(text: &Text, sink: &mut Sink<'_>) -> Option<u32> {
    let shown = check::short(&text.value);
    if text.plain {
        let problem = Problem::new(
            code::FILE_MODE,
            text.mark,
            format!("mode {shown} is a number, and readers differ on its base"),
        );
        sink.push(
            problem
                .label("octal digits in quotes are wanted here")
                .hint(format!("write it in quotes: `\"{shown}\"`")),
        );
        return None;
    }
    let bits = quantity::permission_bits(&text.value);
    if bits.is_none() {
        let problem = Problem::new(
            code::FILE_MODE,
            text.mark,
            format!("mode {shown:?} is not a file mode"),
        );
        sink.push(problem.hint("write three or four octal digits in quotes, such as `\"0644\"`"));
    }
    bits
}

/// An owner or group, by name or number.
pub(super) fn account(text: Option<&Text>, what: &str, room: &mut Room<'_, '_>) -> Option<String> {
    let text = text?;
    let name = room.renderer.text(text, room.sink)?;
    check::account(&name, text.mark, what, room.sink)
}

/// A command resource; `None` after problems were reported.
pub(super) fn command(command: &CommandItem, room: &mut Room<'_, '_>) -> Option<Draft> {
    let name = room.renderer.text(&command.command, room.sink);
    let name = name.and_then(|name| check::name(&name, command.command.mark, "command", room.sink));
    let argv = program(command, room);
    let only_if = guard(command.only_if.as_deref(), "only_if", command.command.mark, room);
    let unless = guard(command.unless.as_deref(), "unless", command.command.mark, room);
    let cwd = command.cwd.as_ref().and_then(|text| path(text, room));
    let creates = command.creates.as_ref().and_then(|text| path(text, room));
    let artefacts: Vec<String> = command
        .artefacts
        .iter()
        .flatten()
        .filter_map(|text| path(text, room))
        .collect();
    if artefacts.len() > ARTEFACTS_MAX {
        let message = format!(
            "a step brings back at most {ARTEFACTS_MAX} artefacts, and here are {}",
            artefacts.len()
        );
        room.sink.push(
            Problem::new(code::TOO_MANY, command.command.mark, message).hint("pack them into one file"),
        );
    }
    let env = environment(command, room);
    let exit_codes = exit_codes(command, room.sink);
    let mode = command.mode.as_ref().map_or(Some(StepMode::default()), |text| {
        check::choice(text, "mode", MODES, room.sink)
    });
    let isolation = command
        .isolation
        .as_ref()
        .map_or(Some(Isolation::Namespaces), |text| {
            check::choice(text, "isolation", ISOLATIONS, room.sink)
        });
    let egress = egress(command, isolation, room);
    let user = runs_as(command, isolation, room);
    let limits = settings::limits(command.limits.as_ref(), room.limits, room.sink);
    let id = format!("command:{}", name?);
    let references = References {
        depends_on: command.depends_on.as_deref(),
        notify: command.notify.as_deref(),
    };
    let (depends_on, notify) = references.read(&id, room);
    let spec = Spec::Command(CommandSpec {
        argv: argv?,
        cwd,
        env,
        creates,
        only_if,
        unless,
        only_when_notified: command.when_notified.is_some_and(|flag| flag.value),
        exit_codes,
        isolation: isolation?,
        artefacts,
        user,
        egress,
    });
    Some(Draft {
        id,
        mark: command.command.mark,
        depends_on,
        notify,
        when: None,
        tags: BTreeSet::new(),
        limits,
        mode: mode?,
        spec,
    })
}

/// What a command starts: its `argv`, or a shell with its text.
fn program(command: &CommandItem, room: &mut Room<'_, '_>) -> Option<Vec<String>> {
    let at = command.command.mark;
    match (&command.argv, &command.shell) {
        (Some(argv), None) => words(argv, "argv", at, room),
        (None, Some(text)) => shell::program(text, room),
        (Some(_), Some(text)) => {
            let message = "a command has an `argv` or a `shell`, not both";
            room.sink.push(
                Problem::new(code::CONTRADICTION, text.mark, message)
                    .hint("keep `argv` where no shell is needed"),
            );
            None
        }
        // What it has may stand there and be malformed, which was told.
        (None, None) if !command.whole() => None,
        (None, None) => {
            room.sink.push(
                Problem::new(code::MISSING_FIELD, at, "`command` needs `argv` or `shell`")
                    .hint("write `argv: [program, argument, …]`"),
            );
            None
        }
    }
}

fn guard(list: Option<&[Text]>, what: &str, at: Mark, room: &mut Room<'_, '_>) -> Option<Vec<String>> {
    words(list?, what, at, room)
}

/// Program and arguments.
fn words(list: &[Text], what: &str, at: Mark, room: &mut Room<'_, '_>) -> Option<Vec<String>> {
    let mut words = Vec::with_capacity(list.len().min(WORDS_MAX));
    for text in list.iter().take(WORDS_MAX + 1) {
        let word = room.renderer.text(text, room.sink)?;
        words.push(check::plain_text(word, text.mark, what, room.sink)?);
    }
    let at = list.first().map_or(at, |text| text.mark);
    if words.first().is_none_or(String::is_empty) {
        let problem = Problem::new(code::MISSING_FIELD, at, format!("`{what}` names no program"));
        room.sink
            .push(problem.hint(format!("write `{what}: [program, argument, …]`")));
        return None;
    }
    if words.len() > WORDS_MAX || words.iter().map(String::len).sum::<usize>() > WORDS_BYTES_MAX {
        let message = format!("`{what}` has more than {WORDS_MAX} words or {WORDS_BYTES_MAX} bytes");
        room.sink
            .push(Problem::new(code::TOO_MANY, at, message).hint("put long input into a file"));
        return None;
    }
    Some(words)
}

fn environment(command: &CommandItem, room: &mut Room<'_, '_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let entries = command.env.as_ref().map_or(&[][..], |env| &env.0);
    for (key, value) in entries {
        let named = key
            .text
            .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && key.text.len() <= 128;
        if !named || key.text.starts_with(OWN_VARIABLES) {
            let hint = format!(
                "use letters, digits and `_`; names that begin with `{OWN_VARIABLES}` are set by the agent"
            );
            let message = format!("{:?} cannot be the name of a variable", check::short(&key.text));
            room.sink
                .push(Problem::new(code::NAME, key.mark, message).hint(hint));
            continue;
        }
        let text = room.renderer.text(value, room.sink);
        if let Some(text) =
            text.and_then(|text| check::plain_text(text, value.mark, "the variable", room.sink))
        {
            env.insert(key.text.clone(), text);
        }
    }
    let bytes: usize = env.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
    if env.len() > WORDS_MAX || bytes > WORDS_BYTES_MAX {
        let message = format!("`env` has more than {WORDS_MAX} variables or {WORDS_BYTES_MAX} bytes");
        room.sink
            .push(Problem::new(code::TOO_MANY, command.command.mark, message));
    }
    env
}

/// Where the command may reach, sorted, each once.
/// As whom a command runs.
fn runs_as(command: &CommandItem, isolation: Option<Isolation>, room: &mut Room<'_, '_>) -> Option<String> {
    let text = command.user.as_ref()?;
    let name = room.renderer.text(text, room.sink)?;
    if let Err(message) = graph::check_account_name("user", &name) {
        room.sink.push(
            Problem::new(code::NAME, text.mark, message)
                .hint("name a user of the host, such as `user: postgres`"),
        );
        return None;
    }
    if isolation == Some(Isolation::Strict) {
        let message = "`user` says nothing with `isolation: strict`: such a step is the owner of its working directory, or has an id of its own";
        room.sink.push(
            Problem::new(code::CONTRADICTION, text.mark, message)
                .hint("remove one of the two, or make the user the owner of `cwd`"),
        );
    }
    Some(name)
}

fn egress(command: &CommandItem, isolation: Option<Isolation>, room: &mut Room<'_, '_>) -> Vec<Destination> {
    let list = command.egress.as_deref().unwrap_or_default();
    if let Some(first) = list.first() {
        if isolation == Some(Isolation::None) {
            let message =
                "`egress` cannot be held with `isolation: none`: the step would see the whole network";
            room.sink.push(
                Problem::new(code::CONTRADICTION, first.mark, message)
                    .hint("remove `isolation`, or say `namespaces` or `strict`"),
            );
        }
        if list.len() > DESTINATIONS_MAX {
            let message = format!(
                "a step names at most {DESTINATIONS_MAX} destinations, and here are {}",
                list.len()
            );
            room.sink.push(
                Problem::new(code::TOO_MANY, first.mark, message)
                    .hint("name a whole domain with `.example.com:443`"),
            );
        }
    }
    let mut destinations: Vec<Destination> = list
        .iter()
        .take(DESTINATIONS_MAX)
        .filter_map(|text| destination(text, room))
        .collect();
    destinations.sort_unstable();
    destinations.dedup();
    destinations
}

fn destination(text: &Text, room: &mut Room<'_, '_>) -> Option<Destination> {
    let written = room.renderer.text(text, room.sink)?;
    // Both ways of writing it are common; there is one form of it in a graph.
    let canonical = written
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(&written);
    match Destination::parse(canonical) {
        Ok(destination) => Some(destination),
        Err(error) => {
            let message = format!("{:?} is no destination: {error}", check::short(&written));
            room.sink.push(
                Problem::new(code::DESTINATION, text.mark, message)
                    .hint("write a host and a port: `example.com:443`, `.example.com:443`, `192.0.2.7:80`, `[2001:db8::7]:80` or `cidr:10.1.0.0/16:443`"),
            );
            None
        }
    }
}

fn exit_codes(command: &CommandItem, sink: &mut Sink<'_>) -> Vec<i32> {
    let mut codes = Vec::new();
    for number in command.exit_codes.iter().flatten() {
        match i32::from(u8::try_from(number.value).unwrap_or(0)) {
            0 if number.value != 0 => {
                let message = format!("exit code {} is out of range", number.value);
                sink.push(
                    Problem::new(code::QUANTITY, number.mark, message).hint("exit codes go from 0 to 255"),
                );
            }
            code => codes.push(code),
        }
    }
    codes.sort_unstable();
    codes.dedup();
    if codes.is_empty() {
        codes.push(0);
    }
    codes
}

/// A path on the host.
pub(super) fn path(text: &Text, room: &mut Room<'_, '_>) -> Option<String> {
    let path = room.renderer.text(text, room.sink)?;
    check::host_path(path, text.mark, room.sink)
}

/// The other resources that one names.
pub(super) struct References<'a> {
    pub(super) depends_on: Option<&'a [Text]>,
    pub(super) notify: Option<&'a [Text]>,
}

impl References<'_> {
    pub(super) fn read(&self, id: &str, room: &mut Room<'_, '_>) -> (Named, Named) {
        (
            Self::list(self.depends_on, "depends on", id, room),
            Self::list(self.notify, "notifies", id, room),
        )
    }

    fn list(list: Option<&[Text]>, verb: &str, id: &str, room: &mut Room<'_, '_>) -> Named {
        let mut ids = Vec::new();
        for text in list.unwrap_or_default() {
            let Some(other) = room.renderer.text(text, room.sink) else {
                continue;
            };
            if other == id {
                let message = format!("`{}` {verb} itself", check::short(id));
                room.sink
                    .push(Problem::new(code::SELF_REFERENCE, text.mark, message).hint("remove it"));
            } else {
                ids.push((other, text.mark));
            }
        }
        ids
    }
}
