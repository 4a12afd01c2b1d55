//! From a resource's id and what differs of it to a class and a severity. The attributes are those that the providers write
//! (`docs/providers.md`, "What a change says"); one that is not known here is a difference of class `unknown`, never none.

use writ_protocol::reason::Code;
use writ_protocol::record::{Change, Difference, Unseen};

use super::{Class, Severity};

/// What one signal, or all of them together, say.
pub type Judgement = (Class, Severity);

/// What agents write where there is nothing.
const NOTHING: &str = "-";
/// What agents write of a password that nobody is asked for.
const EMPTY_PASSWORD: &str = "empty";
/// Bits of a mode that let everybody write, and that lend the owner's or group's rights to whoever runs the file.
const WRITABLE_BY_ALL: u32 = 0o002;
const LENDS_RIGHTS: u32 = 0o6000;
/// Groups whose members are as good as root on the systems that there are.
const POWERFUL_GROUPS: [&str; 9] = [
    "root", "sudo", "wheel", "admin", "shadow", "disk", "docker", "lxd", "kmem",
];
/// Numbers of the system errors that say that there is no room: ENOMEM, ENFILE, EMFILE, ENOSPC, EDQUOT of Linux, as errors end their text.
const NO_ROOM: [&str; 5] = [
    "(os error 12)",
    "(os error 23)",
    "(os error 24)",
    "(os error 28)",
    "(os error 122)",
];

const CRITICAL_SECURITY: Judgement = (Class::Security, Severity::Critical);
const SECURITY: Judgement = (Class::Security, Severity::Warn);
const CONFIGURATION: Judgement = (Class::Configuration, Severity::Warn);
const TRIFLE: Judgement = (Class::Configuration, Severity::Info);
const STRANGE: Judgement = (Class::Unknown, Severity::Warn);

/// What a difference is: of all its signals the most severe, and of those that are as severe the one whose class counts first.
pub fn classify(difference: &Difference) -> Judgement {
    judge(
        &difference.resource,
        &difference.changes,
        difference.unseen.as_ref(),
    )
}

/// The same of its parts.
pub fn judge(resource: &str, changes: &[Change], unseen: Option<&Unseen>) -> Judgement {
    let signals = changes
        .iter()
        .map(|change| signal(resource, change))
        .chain(unseen.map(blind));
    let worst = signals.max_by_key(|(class, severity)| (*severity, *class));
    worst.unwrap_or((Class::None, Severity::Info))
}

/// What one change says.
fn signal(resource: &str, change: &Change) -> Judgement {
    let Some((kind, name)) = resource.split_once(':') else {
        return STRANGE;
    };
    match kind {
        "file" => file(change),
        "package" => package(change),
        "service" => service(change),
        "user" => user(change),
        "group" => group(name, change),
        "command" if change.attribute == "run" => CONFIGURATION,
        _ => STRANGE,
    }
}

/// Whether the resource is to be made. That it is not there is a signal; its properties are none of their own then.
fn is_made(change: &Change) -> bool {
    change.got == NOTHING
}

fn file(change: &Change) -> Judgement {
    match change.attribute.as_str() {
        "kind" | "content" | "target" => CONFIGURATION,
        "mode" | "owner" | "group" if is_made(change) => TRIFLE,
        "mode" => mode(change),
        "owner" if change.want == "root" => CRITICAL_SECURITY,
        "owner" | "group" => SECURITY,
        _ => STRANGE,
    }
}

fn package(change: &Change) -> Judgement {
    match change.attribute.as_str() {
        "state" | "version" => CONFIGURATION,
        "hold" => TRIFLE,
        _ => STRANGE,
    }
}

fn service(change: &Change) -> Judgement {
    match change.attribute.as_str() {
        "running" if change.want == "yes" => (Class::Availability, Severity::Critical),
        "enabled" if change.want == "yes" => (Class::Availability, Severity::Warn),
        "running" | "enabled" | "restart" | "reload" => CONFIGURATION,
        _ => STRANGE,
    }
}

fn user(change: &Change) -> Judgement {
    let got = change.got.as_str();
    let is_critical = match change.attribute.as_str() {
        "state" => change.want == "absent",
        "uid" => got == "0",
        "group" => is_powerful(got),
        "groups" => names(got).any(|group| is_powerful(group) && !wants(change, group)),
        "password" => got.starts_with(EMPTY_PASSWORD),
        _ => false,
    };
    match change.attribute.as_str() {
        _ if is_critical => CRITICAL_SECURITY,
        "comment" => TRIFLE,
        "uid" | "group" | "home" | "shell" | "password" if is_made(change) => TRIFLE,
        "state" | "home" | "home_exists" => CONFIGURATION,
        "uid" | "group" | "groups" | "shell" | "password" | "shadow" => SECURITY,
        _ => STRANGE,
    }
}

fn group(name: &str, change: &Change) -> Judgement {
    let is_new = |who: &str| !wants(change, who);
    match change.attribute.as_str() {
        "gid" if change.got == "0" => CRITICAL_SECURITY,
        "members" if is_powerful(name) && names(&change.got).any(is_new) => CRITICAL_SECURITY,
        "gid" if is_made(change) => TRIFLE,
        "state" if change.want != "absent" => CONFIGURATION,
        "state" | "gid" | "members" | "shadow" => SECURITY,
        _ => STRANGE,
    }
}

fn mode(change: &Change) -> Judgement {
    let bits = |text: &str| u32::from_str_radix(text, 8).ok();
    // A mode that cannot be read may be any.
    let (Some(want), Some(got)) = (bits(&change.want), bits(&change.got)) else {
        return CRITICAL_SECURITY;
    };
    if got & !want & (WRITABLE_BY_ALL | LENDS_RIGHTS) != 0 {
        CRITICAL_SECURITY
    } else {
        SECURITY
    }
}

fn is_powerful(group: &str) -> bool {
    group == "0" || POWERFUL_GROUPS.contains(&group)
}

/// Names as agents list them.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(", ")
        .filter(|name| !name.is_empty() && *name != "none")
}

fn wants(change: &Change, name: &str) -> bool {
    let list = change.want.strip_prefix("at least ").unwrap_or(&change.want);
    names(list).any(|wanted| wanted == name)
}

/// What it says that nobody could see.
fn blind(unseen: &Unseen) -> Judgement {
    let has_no_room = matches!(unseen.code, Code::DiskFull | Code::LimitExceeded)
        || NO_ROOM.iter().any(|error| unseen.detail.contains(error));
    let class = if has_no_room {
        Class::Capacity
    } else {
        Class::Unknown
    };
    (class, Severity::Warn)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn change(attribute: &str, want: &str, got: &str) -> Change {
        Change {
            attribute: attribute.into(),
            want: want.into(),
            got: got.into(),
        }
    }

    fn named((class, severity): Judgement) -> String {
        format!("{} {}", class.name(), severity.name())
    }

    /// Resource, attribute, want, got, and what it is: every attribute of every provider, and each of its ways.
    const TABLE: [(&str, &str, &str, &str, &str); 62] = [
        ("file:/a", "kind", "file", "absent", "configuration warn"),
        ("file:/a", "kind", "absent", "file", "configuration warn"),
        ("file:/a", "content", "aa", "bb", "configuration warn"),
        ("file:/a", "content", "aa", "-", "configuration warn"),
        ("file:/a", "target", "/x", "/y", "configuration warn"),
        ("file:/a", "mode", "0644", "0600", "security warn"),
        ("file:/a", "mode", "0600", "0644", "security warn"),
        ("file:/a", "mode", "0644", "0646", "security critical"),
        ("file:/a", "mode", "0666", "0662", "security warn"),
        ("file:/a", "mode", "1777", "0777", "security warn"),
        ("file:/a", "mode", "0755", "4755", "security critical"),
        ("file:/a", "mode", "0755", "2755", "security critical"),
        ("file:/a", "mode", "0755", "odd", "security critical"),
        ("file:/a", "mode", "0644", "-", "configuration info"),
        ("file:/a", "owner", "www", "eve", "security warn"),
        ("file:/a", "owner", "root", "eve", "security critical"),
        ("file:/a", "owner", "root", "-", "configuration info"),
        ("file:/a", "group", "www", "eve", "security warn"),
        ("file:/a", "group", "www", "-", "configuration info"),
        ("package:a", "state", "installed", "absent", "configuration warn"),
        (
            "package:a",
            "state",
            "purged",
            "installed 1",
            "configuration warn",
        ),
        ("package:a", "version", "1.*", "2.0", "configuration warn"),
        ("package:a", "hold", "true", "false", "configuration info"),
        ("service:a", "running", "yes", "no", "availability critical"),
        (
            "service:a",
            "running",
            "yes",
            "no such service",
            "availability critical",
        ),
        ("service:a", "running", "no", "yes", "configuration warn"),
        ("service:a", "enabled", "yes", "no", "availability warn"),
        ("service:a", "enabled", "no", "yes", "configuration warn"),
        (
            "service:a",
            "restart",
            "after the change",
            "running since before",
            "configuration warn",
        ),
        (
            "service:a",
            "reload",
            "after the change",
            "running since before",
            "configuration warn",
        ),
        ("user:a", "state", "present", "absent", "configuration warn"),
        ("user:a", "state", "absent", "present", "security critical"),
        ("user:a", "uid", "500", "501", "security warn"),
        ("user:a", "uid", "500", "0", "security critical"),
        ("user:a", "uid", "500", "-", "configuration info"),
        ("user:a", "group", "a", "b", "security warn"),
        ("user:a", "group", "a", "wheel", "security critical"),
        ("user:a", "group", "a", "0", "security critical"),
        ("user:a", "group", "a", "-", "configuration info"),
        ("user:a", "groups", "a, b", "a", "security warn"),
        ("user:a", "groups", "a", "a, sudo", "security critical"),
        ("user:a", "groups", "at least a, sudo", "sudo", "security warn"),
        ("user:a", "groups", "at least a", "none", "security warn"),
        ("user:a", "home", "/home/a", "/", "configuration warn"),
        ("user:a", "home", "/home/a", "-", "configuration info"),
        ("user:a", "home_exists", "true", "false", "configuration warn"),
        ("user:a", "shell", "/bin/sh", "/bin/false", "security warn"),
        ("user:a", "shell", "/bin/sh", "-", "configuration info"),
        ("user:a", "comment", "A", "B", "configuration info"),
        ("user:a", "password", "hash ab", "hash cd", "security warn"),
        (
            "user:a",
            "password",
            "locked ab",
            "empty: no password is asked",
            "security critical",
        ),
        ("user:a", "password", "hash ab", "-", "configuration info"),
        ("user:a", "shadow", "a line in shadow", "none", "security warn"),
        ("group:a", "state", "present", "absent", "configuration warn"),
        ("group:a", "state", "absent", "present", "security warn"),
        ("group:a", "gid", "500", "501", "security warn"),
        ("group:a", "gid", "500", "0", "security critical"),
        ("group:a", "members", "a", "a, eve", "security warn"),
        ("group:sudo", "members", "a", "a, eve", "security critical"),
        ("group:sudo", "members", "a, b", "a", "security warn"),
        ("group:a", "shadow", "a line in gshadow", "none", "security warn"),
        (
            "command:a",
            "run",
            "done",
            "/a does not exist",
            "configuration warn",
        ),
    ];

    #[test]
    fn every_attribute_of_every_provider_is_what_the_table_says() {
        for (resource, attribute, want, got, wanted) in TABLE {
            let changes = [change(attribute, want, got)];
            assert_eq!(
                named(judge(resource, &changes, None)),
                wanted,
                "{resource} {attribute}: {want}, {got}"
            );
        }
    }

    /// The page for people lists what the providers write; an attribute that comes to be there must get its line here.
    #[test]
    fn the_table_has_every_attribute_that_the_providers_write() {
        let page = include_str!("../../../../docs/providers.md");
        let section = page.split_once("## What a change says").expect("the section").1;
        let section = section.split("\n## ").next().expect("the section alone");
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let mut listed = BTreeSet::new();
        for row in rows {
            let mut words = row.split('`').skip(1).step_by(2);
            let kind = words.next().expect("a type");
            listed.extend(words.map(|attribute| (kind.to_owned(), attribute.to_owned())));
        }
        let known: BTreeSet<(String, String)> = TABLE
            .iter()
            .filter_map(|(resource, attribute, ..)| {
                let kind = resource.split_once(':')?.0;
                Some((kind.to_owned(), (*attribute).to_owned()))
            })
            .collect();
        assert!(listed.len() > 20);
        assert_eq!(known, listed);
    }

    #[test]
    fn what_is_not_known_is_unknown_and_nothing_is_none() {
        for resource in ["file:/a", "cron:x", "odd", ""] {
            assert_eq!(
                named(judge(resource, &[change("colour", "a", "b")], None)),
                "unknown warn"
            );
        }
        assert_eq!(named(judge("file:/a", &[], None)), "none info");
    }

    #[test]
    fn of_several_signals_the_most_severe_counts() {
        let content = || change("content", "aa", "bb");
        let mode = |got| change("mode", "0644", got);
        for (changes, wanted) in [
            (vec![content(), mode("0600")], "security warn"),
            (vec![mode("0666"), content()], "security critical"),
            (
                vec![change("kind", "file", "absent"), mode("-")],
                "configuration warn",
            ),
        ] {
            assert_eq!(named(judge("file:/a", &changes, None)), wanted, "{changes:?}");
        }
        let service = [change("enabled", "yes", "no"), change("running", "yes", "no")];
        assert_eq!(named(judge("service:a", &service, None)), "availability critical");
    }

    /// Who may not see security must not see it under another class's name.
    #[test]
    fn a_signal_of_security_is_never_hidden_by_another_of_the_same_resource() {
        let of = |kind: &'static str| {
            TABLE
                .iter()
                .filter(move |(r, ..)| r.split(':').next() == Some(kind))
        };
        for kind in ["file", "package", "service", "user", "group", "command"] {
            for (resource, a, want_a, got_a, _) in of(kind) {
                for (_, b, want_b, got_b, _) in of(kind) {
                    let both = [change(a, want_a, got_a), change(b, want_b, got_b)];
                    let one = |at: usize| judge(resource, &both[at..=at], None).0;
                    let is_secret = [one(0), one(1)].iter().any(|class| class.is_for_operators());
                    assert_eq!(
                        judge(resource, &both, None).0.is_for_operators(),
                        is_secret,
                        "{both:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_look_that_failed_is_unknown_or_wants_for_room() {
        let unseen = |code, detail: &str| Unseen {
            code,
            detail: detail.into(),
        };
        for (unseen, wanted) in [
            (
                unseen(Code::StepFailed, "read /a: no (os error 13)"),
                "unknown warn",
            ),
            (unseen(Code::Internal, ""), "unknown warn"),
            (unseen(Code::DiskFull, ""), "capacity warn"),
            (unseen(Code::LimitExceeded, ""), "capacity warn"),
            (
                unseen(Code::StepFailed, "open /a: Too many open files (os error 24)"),
                "capacity warn",
            ),
            (
                unseen(Code::StepFailed, "No space left on device (os error 28)"),
                "capacity warn",
            ),
            (
                unseen(Code::StepFailed, "out of memory (os error 12)"),
                "capacity warn",
            ),
        ] {
            assert_eq!(named(judge("file:/a", &[], Some(&unseen))), wanted, "{unseen:?}");
            let both = judge("file:/a", &[change("mode", "0644", "0666")], Some(&unseen));
            assert_eq!(named(both), "security critical");
        }
    }

    #[test]
    fn every_class_but_expected_has_a_case_and_names_are_read_back() {
        for class in Class::ALL {
            assert_eq!(Class::of(class.name()), Some(class));
        }
        for severity in Severity::ALL {
            assert_eq!(Severity::of(severity.name()), Some(severity));
        }
        assert_eq!((Class::of("odd"), Severity::of("odd")), (None, None));
        assert!(Severity::Info < Severity::Warn && Severity::Warn < Severity::Critical);
    }
}
