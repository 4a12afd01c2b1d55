//! What is wrong in the file is named with its key and what to do; nothing that is not known is passed over.

use crate::config::Config;

const HOUSE: &str = r#"
tenant: acme
database: { url: "postgres:///writ" }
bus:
  servers: ["tls://bus.example:4222"]
  ca_file: /ca.pem
  credentials: { jwt_file: /c.jwt, seed_file: /c.seed }
keys_dir: /keys
trust_dir: /trust
"#;
const OPS: &str =
    r#"{ webhook: { url: "https://hooks.example/in", secret_files: [/ops.whsec] }, sees_security: true }"#;
const BAD: &str = r#"{ name: bad, events: ["drift.*"], receivers: [ops] }"#;

/// What is said of a file with this section, or nothing.
fn said(alerts: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("controller.yaml");
    std::fs::write(&file, format!("{HOUSE}alerts: {alerts}\n")).expect("written");
    Config::load(Some(&file)).err().map(|error| {
        let mut said = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            said = format!("{said}: {cause}");
            source = cause.source();
        }
        said
    })
}

fn section(receiver: &str, rule: &str) -> String {
    format!("{{ deliver: true, receivers: {{ ops: {receiver} }}, rules: [{rule}] }}")
}

#[test]
fn a_section_that_is_as_it_should_be_is_taken_and_nothing_is_delivered_unless_it_says_so() {
    assert_eq!(said(&section(OPS, BAD)), None);
    assert_eq!(said("{}"), None);
    assert!(!super::Alerts::default().deliver);
}

#[test]
fn what_is_not_known_or_of_another_kind_is_named() {
    let without = OPS.replace(", sees_security: true", "");
    for (receiver, rule, named) in [
        // A word that nobody knows, at every depth.
        (
            OPS.replace("sees_security: true", "sees_security: true, colour: red"),
            BAD.to_owned(),
            "colour",
        ),
        (OPS.replace("url:", "uri: x, url:"), BAD.to_owned(), "uri"),
        (
            OPS.replace(" },", ", reach: { trust_all: true } },"),
            BAD.to_owned(),
            "trust_all",
        ),
        (
            OPS.replace("true }", "true, rate: { burst: 1 } }"),
            BAD.to_owned(),
            "burst",
        ),
        (
            OPS.replace("true }", "true, retry: { forever: true } }"),
            BAD.to_owned(),
            "forever",
        ),
        (OPS.to_owned(), BAD.replace("name:", "when: never, name:"), "when"),
        // A value of another kind, and one that must be given.
        (
            OPS.replace("sees_security: true", "sees_security: perhaps"),
            BAD.to_owned(),
            "sees_security",
        ),
        (OPS.replace("[/ops.whsec]", "7"), BAD.to_owned(), "secret_files"),
        (
            OPS.replace("true }", "true, rate: { most: many } }"),
            BAD.to_owned(),
            "most",
        ),
        (OPS.to_owned(), BAD.replace("[ops]", "{ ops: 1 }"), "receivers"),
        (without, BAD.to_owned(), "sees_security"),
    ] {
        let said = said(&section(&receiver, &rule)).expect(named);
        assert!(said.contains("alerts") && said.contains(named), "{named}: {said}");
    }
    let said = said(&section(OPS, BAD).replace("deliver", "delivers")).expect("refused");
    assert!(said.contains("delivers"), "{said}");
}

#[test]
fn rules_have_a_name_each_and_bounds() {
    let rule = |from: &str, to: &str| BAD.replace(from, to);
    for (receiver, rule, named) in [
        (OPS.to_owned(), format!("{BAD}, {BAD}"), "alerts.rules.1.name"),
        (
            OPS.to_owned(),
            rule("name: bad", "name: Bad"),
            "alerts.rules.0.name",
        ),
        (
            OPS.to_owned(),
            rule("[ops]", "[nobody]"),
            "there is no receiver \"nobody\"",
        ),
        (OPS.to_owned(), rule("[ops]", "[]"), "at least one"),
        (
            OPS.to_owned(),
            rule("drift.*", "drift.*.x"),
            "alerts.rules.0.events",
        ),
        (
            OPS.to_owned(),
            rule("}", ", at_least: bad }"),
            "info, warn or critical",
        ),
        (
            OPS.to_owned(),
            rule("}", ", classes: [odd] }"),
            "alerts.rules.0.classes",
        ),
        (
            OPS.to_owned(),
            rule("}", ", group_by: [colour] }"),
            "alerts.rules.0.group_by",
        ),
        (
            OPS.to_owned(),
            rule("}", ", once_in_seconds: 0 }"),
            "alerts.rules.0.once_in_seconds",
        ),
        (
            OPS.to_owned(),
            rule("}", ", group_wait_seconds: 3601 }"),
            "alerts.rules.0.group_wait_seconds",
        ),
    ] {
        let said = said(&section(&receiver, &rule)).expect(named);
        assert!(said.contains(named), "{named}: {said}");
    }
}

#[test]
fn what_receivers_are_given_has_bounds_and_each_is_of_one_kind() {
    let with = |more: &str| OPS.replace("true }", &format!("true, {more} }}"));
    let both = "sees_security: true, slack: { url_file: /chat.url }";
    for (receiver, rule, named) in [
        (
            with("rate: { most: 0 }"),
            BAD.to_owned(),
            "alerts.receivers.ops.rate.most",
        ),
        (
            with("rate: { per_seconds: 604801 }"),
            BAD.to_owned(),
            "alerts.receivers.ops.rate.per_seconds",
        ),
        (
            with("retry: { tries: 21 }"),
            BAD.to_owned(),
            "alerts.receivers.ops.retry.tries",
        ),
        (
            with("retry: { first_seconds: 9, longest_seconds: 8 }"),
            BAD.to_owned(),
            "must not be longer than longest_seconds",
        ),
        (
            with(r#"quiet: [{ zone: Nowhere/Town, from: "22:00", to: "07:00" }]"#),
            BAD.to_owned(),
            "alerts.receivers.ops.quiet.0",
        ),
        (
            with(r#"quiet: [{ zone: UTC, from: "7", to: "07:00" }]"#),
            BAD.to_owned(),
            "write it as 07:00",
        ),
        (
            OPS.replace("sees_security: true", both),
            BAD.to_owned(),
            "exactly one of webhook, slack and email",
        ),
        (
            "{ sees_security: true }".to_owned(),
            BAD.to_owned(),
            "exactly one of webhook, slack and email",
        ),
    ] {
        let said = said(&section(&receiver, &rule)).expect(named);
        assert!(said.contains(named), "{named}: {said}");
    }
    // A receiver that stands twice would hide the first.
    let twice = format!("{{ receivers: {{ ops: {OPS}, ops: {OPS} }} }}");
    let told = said(&twice).expect("refused");
    assert!(told.contains("ops"), "{told}");
    let many: Vec<String> = (0..65).map(|n| format!("r{n}: {OPS}")).collect();
    let told = said(&format!("{{ receivers: {{ {} }} }}", many.join(", "))).expect("refused");
    assert!(told.contains("at most 64 receivers and 64 rules"), "{told}");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let receiver = OPS.replace("true }", "true, rate: { most: 0 }, retry: { tries: 0 } }");
    let rule = BAD
        .replace("[ops]", "[nobody]")
        .replace("name: bad", "name: \"\"");
    let said = said(&section(&receiver, &rule)).expect("refused");
    for key in [
        "ops.rate.most",
        "ops.retry.tries",
        "alerts.rules.0.name",
        "nobody",
    ] {
        assert!(said.contains(key), "{key}: {said}");
    }
}
