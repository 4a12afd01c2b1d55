//! Users and groups on a lab host, with the real shadow tools: each case there and back, several times.

#![expect(
    clippy::unnecessary_wraps,
    clippy::too_many_lines,
    reason = "a table of cases: its fields are optional, and it is as long as it is"
)]

use writ_protocol::graph::{GroupSpec, GroupState, Login, Resource, Spec, UserSpec, UserState};
use writ_providers::Error;

use super::lab::Lab;
use super::stage::{Stage, step};

/// How often each case goes there and back.
const ROUNDS: usize = 2;

fn user(name: &str, state: UserState) -> Resource {
    let spec = UserSpec {
        name: name.to_owned(),
        state,
    };
    step(format!("user:{name}"), Spec::User(spec))
}

fn present(name: &str, login: Login) -> Resource {
    user(name, UserState::Present(Box::new(login)))
}

fn gone(name: &str) -> Resource {
    user(name, UserState::Absent { remove_home: true })
}

fn group(name: &str, state: GroupState) -> Resource {
    let spec = GroupSpec {
        name: name.to_owned(),
        state,
    };
    step(format!("group:{name}"), Spec::Group(spec))
}

fn group_with(name: &str, gid: Option<u32>, members: Option<&[&str]>, system: bool) -> Resource {
    let members = members.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    group(name, GroupState::Present { gid, members, system })
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn list(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|&name| name.to_owned()).collect())
}

/// What a user may be asked to be, in the order in which one becomes the next.
fn logins() -> Vec<(&'static str, Login)> {
    let plain = Login::default;
    vec![
        ("nothing said", plain()),
        (
            "a home",
            Login {
                create_home: true,
                ..plain()
            },
        ),
        (
            "a number",
            Login {
                uid: Some(4_321),
                ..plain()
            },
        ),
        (
            "a shell",
            Login {
                shell: text("/bin/sh"),
                ..plain()
            },
        ),
        (
            "another shell",
            Login {
                shell: text("/usr/sbin/nologin"),
                ..plain()
            },
        ),
        (
            "a comment",
            Login {
                comment: text("A b, \"c\" $(d) 'e'"),
                ..plain()
            },
        ),
        (
            "a comment like an option",
            Login {
                comment: text("-x"),
                ..plain()
            },
        ),
        (
            "no comment",
            Login {
                comment: text(""),
                ..plain()
            },
        ),
        (
            "a group by name",
            Login {
                group: text("users"),
                ..plain()
            },
        ),
        (
            "a group by number",
            Login {
                group: text("60"),
                ..plain()
            },
        ),
        (
            "groups",
            Login {
                groups: list(&["audio", "adm"]),
                ..plain()
            },
        ),
        (
            "a group more",
            Login {
                groups: list(&["video"]),
                ..plain()
            },
        ),
        (
            "exact groups",
            Login {
                groups: list(&["adm"]),
                groups_exact: true,
                ..plain()
            },
        ),
        (
            "no groups",
            Login {
                groups: list(&[]),
                groups_exact: true,
                ..plain()
            },
        ),
        (
            "nobody logs in",
            Login {
                password_hash: text("!"),
                ..plain()
            },
        ),
        (
            "a password",
            Login {
                password_hash: text("$6$salt$abc./DEF"),
                ..plain()
            },
        ),
        (
            "a home elsewhere",
            Login {
                home: text("/srv/elsewhere"),
                create_home: true,
                ..plain()
            },
        ),
        (
            "all at once",
            Login {
                uid: Some(4_322),
                group: text("games"),
                groups: list(&["adm", "audio"]),
                groups_exact: true,
                home: text("/srv/all"),
                create_home: true,
                shell: text("/bin/bash"),
                comment: text("All"),
                password_hash: text("$y$j9T$x$y"),
                system: false,
            },
        ),
    ]
}

#[test]
fn every_login_comes_goes_and_becomes_every_next_one() {
    let Some(lab) = Lab::start() else { return };
    let mut stage = Stage::at(&lab.root());
    for (what, login) in logins() {
        for _ in 0..ROUNDS {
            let attributes = stage.converge(&present("writ-case", login.clone()));
            assert_eq!(attributes.first().map(String::as_str), Some("state"), "{what}");
            assert_eq!(stage.converge(&gone("writ-case")), ["state"], "{what}");
        }
    }
    for (what, login) in logins() {
        stage.converge(&present("writ-chain", login));
        assert_ne!(lab.sh("getent passwd writ-chain"), "", "{what}");
    }
    assert_eq!(
        lab.sh("getent passwd writ-chain; id -nG writ-chain; getent shadow writ-chain | cut -d: -f2"),
        "writ-chain:x:4322:60:All:/srv/all:/bin/bash\ngames adm audio\n$y$j9T$x$y"
    );
    assert_eq!(lab.sh("stat -c %U:%G /srv/all"), "writ-chain:games");
    stage.converge(&gone("writ-chain"));
    assert!(!lab.root().join("srv/all").exists(), "the home went too");
}

#[test]
fn groups_come_change_and_go() {
    let Some(lab) = Lab::start() else { return };
    let mut stage = Stage::at(&lab.root());
    let cases = [
        ("any number", group_with("writ-g", None, None, false), "state"),
        ("a number", group_with("writ-g", Some(4_400), None, false), "gid"),
        (
            "members",
            group_with("writ-g", None, Some(&["root", "games", "root"]), false),
            "members",
        ),
        (
            "fewer",
            group_with("writ-g", Some(4_401), Some(&["games"]), false),
            "gid",
        ),
        ("none", group_with("writ-g", None, Some(&[]), false), "members"),
    ];
    for _ in 0..ROUNDS {
        for (what, resource, first) in &cases {
            assert_eq!(
                stage.converge(resource).first().map(String::as_str),
                Some(*first),
                "{what}"
            );
        }
        assert_eq!(lab.sh("getent group writ-g"), "writ-g:x:4401:");
        assert_eq!(stage.converge(&group("writ-g", GroupState::Absent)), ["state"]);
    }
    stage.converge(&group_with("writ-sys", None, None, true));
    let gid: u32 = lab
        .sh("getent group writ-sys | cut -d: -f3")
        .parse()
        .expect("a number");
    assert!(gid < 1_000, "{gid} is not of the system's range");
    // The tool refuses to take away somebody's primary group, and its words arrive.
    stage.converge(&present(
        "writ-p",
        Login {
            group: text("writ-sys"),
            ..Login::default()
        },
    ));
    let resource = group("writ-sys", GroupState::Absent);
    let changes = stage.changes(&resource).expect("differs");
    let failure = stage
        .apply(&resource, &changes)
        .expect("runs")
        .failure
        .expect("fails");
    assert!(failure.to_string().contains("primary group"), "{failure}");
}

#[test]
fn what_a_killed_tool_left_is_repaired() {
    let Some(lab) = Lab::start() else { return };
    let mut stage = Stage::at(&lab.root());
    // Between two files: a user without a shadow line, a group without one, a group without its user, a user without a home.
    lab.sh("echo 'half:x:4500:4500::/home/half:/bin/sh' >> /etc/passwd; echo 'half:x:4500:' >> /etc/group; echo 'orphan:x:4501:' >> /etc/group");
    let half = present(
        "half",
        Login {
            create_home: true,
            password_hash: text("!"),
            groups: list(&["orphan"]),
            ..Login::default()
        },
    );
    let attributes = stage.converge(&half);
    for wanted in ["shadow", "groups", "home_exists", "password"] {
        assert!(
            attributes.iter().any(|attribute| attribute == wanted),
            "{attributes:?}"
        );
    }
    stage.converge(&present("orphan", Login::default()));
    assert_eq!(
        lab.sh("id -gn orphan; test -d /home/half; pwck -qr; grpck -r"),
        "orphan"
    );
    // A lock of a process that is no more holds nobody up.
    lab.sh("printf 4194303 > /etc/passwd.lock");
    stage.converge(&present("after-lock", Login::default()));
}

#[test]
fn a_hash_is_told_to_nobody() {
    let Some(lab) = Lab::start() else { return };
    let mut stage = Stage::at(&lab.root());
    let secret = "$6$saltsalt$CANARYCANARY";
    let resource = present(
        "canary",
        Login {
            password_hash: text(secret),
            ..Login::default()
        },
    );
    let changes = stage.changes(&resource).expect("differs");
    let applied = stage.apply(&resource, &changes).expect("applies");
    let seen = stage.see(&resource).expect("observes");
    let told = format!("{changes:?} {applied:?} {seen:?} {:?}", stage.live);
    assert!(!told.contains("CANARY"), "{told}");
    assert_eq!(lab.sh("getent shadow canary | cut -d: -f2"), secret);
}

#[test]
fn a_missing_tool_and_a_read_only_root_are_said() {
    let Some(lab) = Lab::start() else { return };
    let mut stage = Stage::at(&lab.root());
    lab.sh("rm /usr/sbin/useradd");
    let resource = present("nobody-new", Login::default());
    let error = stage.refusal(&resource);
    assert!(
        matches!(error, Error::ToolMissing { tool: "useradd", .. }),
        "{error}"
    );
    assert!(error.to_string().contains("passwd"), "{error}");
    lab.sh("mount -o remount,ro /");
    let resource = group_with("writ-ro", None, None, false);
    let changes = stage.changes(&resource).expect("a look needs no write");
    let failure = stage
        .apply(&resource, &changes)
        .expect("runs")
        .failure
        .expect("fails");
    assert!(failure.to_string().contains("groupadd"), "{failure}");
}
