//! The shapes of what a config says of providers of its own, and of what they keep in a state.

use crate::config::LimitSet;
use crate::yaml::read::{Anything, Entries, Text, record};

record! {
    /// A program that keeps things of its own kinds in a state.
    ProviderItem is "a provider" {
        /// The program: a file beside the config.
        #[schemars(extend("type" = "string"))]
        program: Text,
    }
}

record! {
    /// A thing that a provider of the config keeps in a state.
    ExternalItem is "`external`" {
        /// Name, unique among what providers keep.
        external: Text,
        /// Which of `providers` keeps it.
        #[schemars(extend("type" = "string"))]
        provider: Text,
        /// Which of the provider's kinds it is.
        #[schemars(extend("type" = "string"))]
        kind: Text,
        /// What is wanted, in the words of the kind: text, whole numbers, flags, nothing, lists and mappings; `{{ name }}` is filled in in texts.
        #[schemars(extend("additionalProperties" = true))]
        spec: Option<Entries<Anything>>,
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
