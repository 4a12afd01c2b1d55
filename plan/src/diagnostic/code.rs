//! The stable codes of authoring problems, W0100 to W0199. A code never changes its meaning.

/// Every code of this crate with its title.
pub const TABLE: &[(&str, &str)] = &[
    (TOO_LARGE, "config is too large"),
    (SYNTAX, "config is not YAML"),
    (UNKNOWN_FIELD, "unknown field"),
    (MISSING_FIELD, "field is missing"),
    (WRONG_KIND, "value is of the wrong kind"),
    (REPEATED_KEY, "key stands twice"),
    (REFUSED_YAML, "YAML feature is not accepted"),
    (TOO_DEEP, "config nests too deep or has too many parts"),
    (VERSION, "config version is not supported"),
    (CHOICE, "value is not one of the choices"),
    (QUANTITY, "quantity is malformed or out of range"),
    (MONEY, "budget is malformed"),
    (FILE_MODE, "file mode is malformed"),
    (PATH, "path is malformed"),
    (NAME, "name is malformed"),
    (RESOURCE_TYPE, "resource type is unknown or missing"),
    (LATER_VERSION, "resource type comes with a later version"),
    (CONTRADICTION, "fields contradict each other"),
    (REPEATED_ID, "resource id stands twice"),
    (UNKNOWN_ID, "resource id is unknown"),
    (SELF_REFERENCE, "resource depends on itself"),
    (CYCLE, "resources depend on each other in a circle"),
    (TEMPLATE, "template is malformed"),
    (UNDEFINED, "template uses an undefined variable"),
    (TEMPLATE_BOUND, "template does or yields too much"),
    (FILE_MISSING, "file of the config is missing"),
    (CONTENT_TOO_LARGE, "files of the config are too large"),
    (FILE_NAME, "file name is not a clean relative path"),
    (TARGETS, "targets select nothing"),
    (TOO_MANY, "list is too long"),
    (GRAPH, "config breaks a rule of the graph"),
    (FOR_EACH, "for_each makes no family"),
    (CONDITION, "condition is malformed"),
    (FACT, "fact is unknown"),
    (INCLUDE, "files include each other, or too many"),
    (GIVEN, "given value does not fit the config"),
    (SELECTION, "selection names nothing of the config"),
    (DESTINATION, "destination is malformed"),
    (NOT_STRICT, "input is from a dev-fast run"),
    (ROLLOUT, "rollout is malformed"),
    (PROVIDER, "provider is unknown"),
    (PROVIDER_PROGRAM, "program of a provider cannot be used"),
    (PROVIDER_SPEC, "spec of an external resource is out of bounds"),
];

/// The config is longer than its bound.
pub const TOO_LARGE: &str = "W0100";
/// The text is not one YAML document.
pub const SYNTAX: &str = "W0101";
/// A field nobody knows.
pub const UNKNOWN_FIELD: &str = "W0102";
/// A field that must be there is not.
pub const MISSING_FIELD: &str = "W0103";
/// Text where a list is wanted, and so on.
pub const WRONG_KIND: &str = "W0104";
/// A key stands twice in one mapping.
pub const REPEATED_KEY: &str = "W0105";
/// An anchor, alias, merge key, tag or directive.
pub const REFUSED_YAML: &str = "W0106";
/// Deeper or more parts than accepted.
pub const TOO_DEEP: &str = "W0107";
/// `version` is not the one this build reads.
pub const VERSION: &str = "W0108";
/// A word that is none of a fixed set.
pub const CHOICE: &str = "W0109";
/// A duration, size or count.
pub const QUANTITY: &str = "W0110";
/// Amount or currency of a budget.
pub const MONEY: &str = "W0111";
/// Permission bits.
pub const FILE_MODE: &str = "W0112";
/// A path on the host.
pub const PATH: &str = "W0113";
/// A project, command, label, host, user, group or environment name.
pub const NAME: &str = "W0114";
/// An item of `resources` has no known type.
pub const RESOURCE_TYPE: &str = "W0115";
/// The type is known but not built yet. No type of this version is; the code stays taken.
pub const LATER_VERSION: &str = "W0116";
/// Two fields that cannot both hold, or two resources.
pub const CONTRADICTION: &str = "W0117";
/// Two resources share an id.
pub const REPEATED_ID: &str = "W0118";
/// `depends_on` or `notify` names nothing.
pub const UNKNOWN_ID: &str = "W0119";
/// A resource waits for itself.
pub const SELF_REFERENCE: &str = "W0120";
/// Resources wait for each other.
pub const CYCLE: &str = "W0121";
/// A template does not parse or fails.
pub const TEMPLATE: &str = "W0122";
/// A template names a variable that is not in `vars`.
pub const UNDEFINED: &str = "W0123";
/// A template uses up its fuel, or its output is too long.
pub const TEMPLATE_BOUND: &str = "W0124";
/// A `template` or `source` was not handed in.
pub const FILE_MISSING: &str = "W0125";
/// A file, or all contents together, are too large.
pub const CONTENT_TOO_LARGE: &str = "W0126";
/// A file name leaves the config's folder.
pub const FILE_NAME: &str = "W0127";
/// A selector that selects no host.
pub const TARGETS: &str = "W0128";
/// A list longer than its bound.
pub const TOO_MANY: &str = "W0129";
/// What the graph's own check refused; the checks before it should have.
pub const GRAPH: &str = "W0130";
/// A `for_each` whose members cannot be told, or told apart.
pub const FOR_EACH: &str = "W0131";
/// A `when` that is no condition.
pub const CONDITION: &str = "W0132";
/// A `when` asks for what no host tells.
pub const FACT: &str = "W0133";
/// Included files in a circle, too deep or too many, or named by a template.
pub const INCLUDE: &str = "W0134";
/// A value of the command line that is none, or whose name the config does not have.
pub const GIVEN: &str = "W0135";
/// A tag or target of the command line that no resource has, or that leaves nothing.
pub const SELECTION: &str = "W0136";
/// An `egress` that names no destination.
pub const DESTINATION: &str = "W0137";
/// A strict config takes a file that a `dev-fast` run produced: by its name, or by its digest.
pub const NOT_STRICT: &str = "W0138";
/// What a rollout says of its hosts.
pub const ROLLOUT: &str = "W0160";
/// An `external` resource names a provider that is not in `providers`.
pub const PROVIDER: &str = "W0167";
/// The program of a provider is not there, too large, or no program.
pub const PROVIDER_PROGRAM: &str = "W0168";
/// A spec of an `external` resource is too large, too deep, has too many values or a number that is no whole one.
pub const PROVIDER_SPEC: &str = "W0169";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_ordered_and_in_range() {
        let codes: Vec<&str> = TABLE.iter().map(|(code, _)| *code).collect();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
        assert!(
            codes
                .iter()
                .all(|code| code.len() == 5 && code.starts_with("W01"))
        );
    }
}
