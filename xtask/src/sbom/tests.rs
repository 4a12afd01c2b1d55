//! The bill: its form, the same bytes each time, and what the gate says of each kind of change.

use super::*;

fn one(name: &str, version: &str, needs: &[&str]) -> (String, Component) {
    let component = Component {
        name: name.to_owned(),
        version: version.to_owned(),
        licence: Some("MIT OR Apache-2.0".to_owned()),
        sum: Some("ab".repeat(32)),
        is_ours: false,
        is_shipped: true,
        needs: needs.iter().map(|name| (*name).to_owned()).collect(),
    };
    (reference(name, version), component)
}

fn bill_of(components: &[(String, Component)]) -> String {
    text(&bill(&components.iter().cloned().collect())).unwrap()
}

fn complaint(before: &str, after: &str) -> String {
    verdict(before, after).unwrap_err().to_string()
}

#[test]
fn the_gate_names_what_came_what_went_and_what_is_another() {
    let before = bill_of(&[
        one("a", "1.0.0", &[]),
        one("b", "1.0.0", &[]),
        one("c", "1.0.0", &[]),
    ]);
    verdict(&before, &before).unwrap();

    let mut other = one("c", "1.0.0", &["pkg:cargo/d@0.1.0"]);
    other.1.licence = None;
    other.1.is_shipped = false;
    let after = bill_of(&[one("b", "1.1.0", &[]), other, one("d", "0.1.0", &[])]);
    let said = complaint(&before, &after);
    for line in [
        "removed: a 1.0.0",
        "changed: b 1.0.0 is 1.1.0",
        "changed: c 1.0.0: what it needs, its licence, whether it is shipped",
        "added:   d 0.1.0",
        "`cargo xtask sbom` writes it",
        FILE,
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn another_sum_under_the_same_version_is_named() {
    let before = bill_of(&[one("a", "1.0.0", &[])]);
    let mut other = one("a", "1.0.0", &[]);
    other.1.sum = Some("cd".repeat(32));
    assert!(complaint(&before, &bill_of(&[other])).contains("changed: a 1.0.0: its sum"));
}

#[test]
fn a_file_that_is_missing_broken_or_rewritten_by_hand_does_not_pass() {
    let bill = bill_of(&[one("a", "1.0.0", &[])]);
    for there in ["", "{}", "no json"] {
        assert!(complaint(there, &bill).contains("added:   a 1.0.0"), "{there}");
    }
    assert!(complaint(&bill.replace("  ", " "), &bill).contains("only how the file is written"));
}

#[test]
fn two_versions_of_a_package_are_two() {
    let before = bill_of(&[one("a", "1.0.0", &[])]);
    let after = bill_of(&[one("a", "1.0.0", &[]), one("a", "2.0.0", &[])]);
    let said = complaint(&before, &after);
    assert!(
        said.contains("added:   a 2.0.0") && !said.contains("removed"),
        "{said}"
    );
}

#[test]
fn the_bill_of_this_workspace_names_every_locked_package_and_no_place() {
    let place = Place::find().unwrap();
    let made = make(&place).unwrap();
    assert_eq!(made, make(&place).unwrap(), "the same bytes each time");
    let bill: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    let lock: Lock = toml::from_str(&fs::read_to_string(place.root.join("Cargo.lock")).unwrap()).unwrap();
    let components = bill["components"].as_array().unwrap();
    let purls: Vec<&str> = components
        .iter()
        .map(|one| one["purl"].as_str().unwrap())
        .collect();
    let mut locked: Vec<String> = lock
        .package
        .iter()
        .map(|package| reference(&package.name, &package.version))
        .collect();
    locked.sort();
    assert_eq!(purls, locked);
    // Everything that is referred to is there.
    for dependency in bill["dependencies"].as_array().unwrap() {
        for needed in dependency["dependsOn"].as_array().unwrap() {
            assert!(purls.contains(&needed.as_str().unwrap()), "{needed}");
        }
    }
    let scope = |name: &str| {
        let found = components.iter().find(|one| one["name"] == name);
        found.unwrap()["scope"].as_str().unwrap().to_owned()
    };
    assert_eq!(scope("writ-agent"), "required");
    assert_eq!(scope("ed25519-dalek"), "required");
    assert_eq!(scope("cargo_metadata"), "excluded");
    assert!(
        !made.contains(place.root.to_str().unwrap()),
        "a path of this machine"
    );
    assert!(
        !made.contains("registry+") && !made.contains("://"),
        "where a package was fetched"
    );
    let foreign = components.iter().filter(|one| one["type"] == "library");
    assert!(foreign.clone().count() > 100);
    for one in foreign {
        assert_eq!(
            one["hashes"][0]["content"].as_str().map(str::len),
            Some(64),
            "{one}"
        );
        assert!(one["licenses"][0]["expression"].is_string(), "{one}");
    }
}
