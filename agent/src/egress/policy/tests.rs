//! What a policy may be, and that whatever keeps it from saying "true" refuses.

use std::fs;

use super::*;

const HEAD: &str = "package writ.egress\n\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn with(self, name: &str, text: &str) -> Self {
        let file = self.0.path().join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, text).expect("written");
        self
    }

    fn load(&self) -> Result<Policy, PolicyError> {
        Policy::load(self.0.path())
    }

    fn fault(&self) -> String {
        let error = self.load().expect_err("it was taken");
        crate::intake::chain(&error)
    }
}

fn rules(text: &str) -> Folder {
    Folder::new().with("egress.rego", &format!("{HEAD}{text}"))
}

fn decide(folder: &Folder, host: &str, ip: Option<&str>) -> Verdict {
    let asker = Asker {
        tenant: "default".to_owned(),
        project: "web".to_owned(),
        step: "command:fetch".to_owned(),
        ..Asker::default()
    };
    let input = Input {
        now: "2026-11-22T02:00:00Z".to_owned(),
        step: &asker,
        host: host.to_owned(),
        port: 443,
        ip: ip.map(str::to_owned),
        scheme: "connect",
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let policy = folder.load().expect("a policy");
    runtime.block_on(policy.ask(&input))
}

fn words(verdict: &Verdict) -> (PolicyWord, &str) {
    (verdict.word, verdict.reason.as_str())
}

#[test]
fn rules_decide_on_all_that_they_are_told_and_on_data() {
    let folder = rules(
        "default allow := false\n\
         allow if {\n  input.project in data.sites.projects\n  input.step == \"command:fetch\"\n  endswith(input.host, \".example.com\")\n  input.port == 443\n  near\n}\n\
         near if input.ip == null\n\
         near if {\n  input.ip != null\n  net.cidr_contains(\"10.1.0.0/16\", input.ip)\n}\n\
         reason := sprintf(\"%s is\\nnobody of ours\", [input.host]) if not endswith(input.host, \".example.com\")\n",
    )
    .with("sites/data.json", r#"{"projects": ["web"]}"#);
    let allowed = (PolicyWord::Allowed, "");
    assert_eq!(words(&decide(&folder, "a.example.com", None)), allowed);
    assert_eq!(
        words(&decide(&folder, "a.example.com", Some("10.1.2.3"))),
        allowed
    );
    assert_eq!(
        words(&decide(&folder, "a.example.com", Some("10.2.2.3"))),
        (PolicyWord::Denied, "the host's policy refuses it")
    );
    assert_eq!(
        words(&decide(&folder, "evil.org", None)),
        (
            PolicyWord::Denied,
            "the host's policy refuses it: evil.org is nobody of ours"
        )
    );
}

#[test]
fn what_does_not_say_true_refuses() {
    for (text, why) in [
        ("allow if input.port == 1", "`allow` is undefined"),
        ("allow := \"yes\"", "`allow` is not a boolean"),
        ("allow := 1", "`allow` is not a boolean"),
        ("allow contains \"x\"", "`allow` is not a boolean"),
        ("allow if not to_number(\"x\")", "egress.rego:3:25"),
        ("allow := true\nallow := false", "egress.rego:"),
        // What there is none of: the network and the clock are no business of rules.
        ("allow if http.send({}).status == 200", "could not find function"),
        ("allow if time.now_ns() > 0", "could not find function"),
        (
            "allow if count([x | some x in numbers.range(1, 3000); some y in numbers.range(1, 3000); x == y]) > 0",
            "time limit",
        ),
    ] {
        let verdict = decide(&rules(text), "example.com", None);
        assert_eq!(verdict.word, PolicyWord::Failed, "{text}: {verdict:?}");
        assert!(
            verdict.reason.starts_with("the host's policy does not decide: ") && verdict.reason.contains(why),
            "{text}: {verdict:?}"
        );
    }
}

#[test]
fn long_reasons_fit_in_a_record() {
    let text = format!("allow := false\nreason := \"{}\"", "é".repeat(400));
    let verdict = decide(&rules(&text), "example.com", None);
    assert_eq!(verdict.word, PolicyWord::Denied);
    assert!(
        verdict.reason.len() <= writ_protocol::egress::REASON_BYTES_MAX,
        "{verdict:?}"
    );
}

#[test]
fn a_wrong_policy_is_told_with_its_place() {
    for (folder, wanted) in [
        (rules("allow := \n"), "egress.rego:4:"),
        (rules("allow if {\n  unknown_thing\n}\n"), "egress.rego:4:3"),
        (rules("deny := true\n"), "has no rule `allow`"),
        (
            Folder::new().with("a.rego", "package other\nallow := true\n"),
            "package writ.egress",
        ),
        (Folder::new().with("data.json", "{}"), "it holds no rules"),
        (
            rules("allow := true").with("x/data.json", "{\n  \"a\": \n}"),
            "x/data.json: expected value at line 3",
        ),
        (
            rules("allow := true").with("data.json", "[]"),
            "data is one JSON object",
        ),
        (rules("allow := true").with("data.yaml", "a: 1"), "data.json only"),
        (
            rules("allow := true").with("big.rego", &"#".repeat(1 << 20)),
            "more than 1048576 bytes",
        ),
    ] {
        let fault = folder.fault();
        assert!(fault.contains(wanted), "wanted {wanted:?}: {fault}");
    }
    let missing = Policy::load(Path::new("/nowhere/egress.rego")).expect_err("it was taken");
    assert!(
        crate::intake::chain(&missing).contains("/nowhere/egress.rego"),
        "{missing}"
    );
}

#[test]
fn a_pipe_is_no_policy_and_nobody_waits_for_it() {
    let folder = rules("allow := true");
    let pipe = folder.0.path().join("pipe.rego");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let fault = folder.fault();
    assert!(
        fault.contains("pipe.rego") && fault.contains("no regular file"),
        "{fault}"
    );
}

#[test]
fn the_digest_is_that_of_what_decides() {
    let one = rules("allow := true");
    let digest = |folder: &Folder| folder.load().expect("a policy").digest();
    let wanted = digest(&one);
    let file = Policy::load(&one.0.path().join("egress.rego")).expect("a policy");
    assert_eq!(file.digest(), wanted, "a folder of one file is that file");
    let text = format!("{HEAD}allow := true");
    let parts: [&[u8]; 5] = [
        b"writ egress policy v1\n",
        &11_u64.to_be_bytes(),
        b"egress.rego",
        &(text.len() as u64).to_be_bytes(),
        text.as_bytes(),
    ];
    assert_eq!(Digest::of_parts(&parts), wanted, "as docs/egress.md says");
    let one = one.with("egress_test.rego", "package writ.egress_test\ntest_x := true\n");
    assert_eq!(digest(&one), wanted, "tests decide nothing");
    assert_ne!(digest(&one.with("data.json", "{}")), wanted);
}

#[test]
fn tests_of_a_policy_pass_and_fail() {
    let folder = rules("default allow := false\nallow if input.host == \"a.example\"\n").with(
        "egress_test.rego",
        "package writ.egress_test\n\n\
         test_known if data.writ.egress.allow with input as {\"host\": \"a.example\"}\n\
         test_unknown if { not data.writ.egress.allow with input as {\"host\": \"b.example\"} }\n\
         test_wrong if {\n  print(\"so it is\")\n  data.writ.egress.allow with input as {\"host\": \"b.example\"}\n}\n\
         todo_test_later if false\n",
    );
    let ran = run_tests(folder.0.path()).expect("run");
    let told: Vec<_> = ran
        .iter()
        .map(|test| (test.name.as_str(), test.has_passed, test.detail.as_str()))
        .collect();
    let name = |rule: &str| format!("egress_test.rego: data.writ.egress_test.{rule}");
    assert_eq!(
        told,
        [
            (name("test_known").as_str(), Some(true), ""),
            (name("test_unknown").as_str(), Some(true), ""),
            (
                name("test_wrong").as_str(),
                Some(false),
                "egress_test.rego:6: so it is"
            ),
            (name("todo_test_later").as_str(), None, ""),
        ]
    );
}
