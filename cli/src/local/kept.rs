//! Plans that `writ plan --local` or `writ plan --ssh` made and that wait to be carried out: each with the signed bundle that it is of, and with what
//! it was made from. A plan that is not kept here cannot be applied here: its bundle is nowhere.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use writ_plan::plan::{PLAN_BYTES_MAX, Plan};
use writ_protocol::bundle;
use writ_protocol::codec;
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::exec::RunMode;
use writ_protocol::limits::BUNDLE_BYTES_MAX;

use super::TENANT;
use super::ledger::{Ledger, durable, read_if_there};
use super::order::Packed;
use crate::clock;
use crate::dev::layout::make_folder;
use crate::dev::trust;
use crate::exit::Exit;
use crate::fault::Fault;

/// Most plans that wait; the one kept longest goes when there are more.
pub const KEPT_PLANS_MAX: usize = 64;
/// Longest description of what a plan was made from, bytes.
const ORIGIN_BYTES_MAX: usize = 1 << 20;

/// What a plan was made from: enough to look whether its config is still the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    /// The config, absolute.
    pub config: PathBuf,
    /// Files of values, absolute.
    pub var_files: Vec<PathBuf>,
    /// Values.
    pub vars: Vec<String>,
    /// Chosen resources.
    pub targets: Vec<String>,
    /// Chosen tags.
    pub tags: Vec<String>,
    /// Tags left out.
    pub skip_tags: Vec<String>,
    /// How it is carried out, where that was said beside the config.
    pub mode: Option<RunMode>,
}

/// A plan that waits.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The plan, whose bytes have the digest by which it was asked for.
    pub plan: Plan,
    /// The bundle's bytes, which have the digest that the plan names.
    pub bundle: Vec<u8>,
    /// What it was made from.
    pub origin: Origin,
}

impl Ledger {
    /// Signs a bundle that several agents of this desk are to have.
    ///
    /// # Errors
    /// When it breaks a bound, or there is no key to sign with.
    pub fn bundle(&self, packed: Packed) -> anyhow::Result<Vec<u8>> {
        let vault = self.places().vault();
        trust::ensure(&vault, TENANT, clock::now())?;
        let key = vault.role_key("plan")?;
        let (bytes, _) = bundle::build(packed.statement, &packed.graph, packed.blobs, &key)?;
        Ok(bytes)
    }

    /// Digest of the trust policy that rules here now, as it was signed.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn policy_digest(&self) -> anyhow::Result<Digest> {
        let vault = self.places().vault();
        trust::ensure(&vault, TENANT, clock::now())?;
        let (_, policy) = vault.documents()?;
        Ok(Envelope::parse(&policy)?.payload_digest())
    }

    /// Keeps a plan with its bundle; the plan's digest. Of more than [`KEPT_PLANS_MAX`] the oldest go.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_plan(&self, plan: &Plan, bundle: &[u8], origin: &Origin) -> anyhow::Result<Digest> {
        let bytes = plan.encode()?;
        let digest = Digest::of(&bytes);
        let folder = self.plan_folder(&digest);
        make_folder(&folder, 0o700)?;
        durable(&folder.join("origin.json"), &codec::to_json("origin", origin)?)?;
        durable(&folder.join("bundle"), bundle)?;
        // The last: where it is, everything is.
        durable(&folder.join("plan.json"), &bytes)?;
        self.forget_oldest()?;
        Ok(digest)
    }

    /// A plan that waits.
    ///
    /// # Errors
    /// When there is none of this digest, or what is kept of it is not what was kept.
    pub fn kept_plan(&self, digest: &Digest) -> anyhow::Result<Kept> {
        let folder = self.plan_folder(digest);
        let read = |name: &str, max: usize| read_if_there(&folder.join(name), max);
        let found = (
            read("plan.json", PLAN_BYTES_MAX)?,
            read("bundle", BUNDLE_BYTES_MAX)?,
            read("origin.json", ORIGIN_BYTES_MAX)?,
        );
        let (Some(plan), Some(bundle), Some(origin)) = found else {
            let what = format!(
                "plan {} was not made here by `writ plan --local` or `writ plan --ssh`",
                digest.short()
            );
            return Err(Fault::new(Exit::Invalid, what)
                .help(format!(
                    "a plan of a fleet is applied without --local and --ssh; of this machine's the newest {KEPT_PLANS_MAX} are kept, for the user and --state that made them\n\
                     make a new one: writ plan --local PATH --out FILE"
                ))
                .into());
        };
        let changed = || {
            let what = format!("what is kept of plan {} was changed", digest.short());
            Fault::coded(writ_protocol::reason::Code::DigestMismatch, what)
                .help("make a new plan: writ plan --local PATH --out FILE")
        };
        if Digest::of(&plan) != *digest {
            return Err(changed().into());
        }
        let plan = Plan::decode(&plan)?;
        if Digest::of(&bundle) != plan.bundle_digest {
            return Err(changed().into());
        }
        let origin = codec::from_json("origin", &origin, ORIGIN_BYTES_MAX)?;
        Ok(Kept { plan, bundle, origin })
    }

    fn plan_folder(&self, digest: &Digest) -> PathBuf {
        self.places().plans().join(digest.to_hex())
    }

    fn forget_oldest(&self) -> anyhow::Result<()> {
        let plans = self.places().plans();
        let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&plans).with_context(|| format!("reading {}", plans.display()))? {
            let path = entry
                .with_context(|| format!("reading {}", plans.display()))?
                .path();
            // One that is not whole is older than any that is.
            let at = fs::metadata(path.join("plan.json")).and_then(|one| one.modified());
            all.push((at.unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
        all.sort_unstable();
        let more = all.len().saturating_sub(KEPT_PLANS_MAX);
        for (_, path) in all.into_iter().take(more) {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Places;
    use writ_protocol::graph::Graph;

    fn plan(bundle: &[u8]) -> Plan {
        let graph = Graph {
            version: writ_protocol::graph::GRAPH_VERSION,
            project: "p".to_owned(),
            mode: RunMode::Strict,
            selection: None,
            resources: Vec::new(),
        };
        Plan::new(&graph, Digest::ZERO, Digest::of(bundle), Vec::new()).unwrap()
    }

    fn origin() -> Origin {
        Origin {
            config: "/srv/writ.yaml".into(),
            var_files: Vec::new(),
            vars: vec!["a=b".to_owned()],
            targets: Vec::new(),
            tags: Vec::new(),
            skip_tags: Vec::new(),
            mode: None,
        }
    }

    #[test]
    fn a_kept_plan_comes_back_as_it_was_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(Places::new(folder.path()).unwrap()).unwrap();
        let digest = ledger.keep_plan(&plan(b"bundle"), b"bundle", &origin()).unwrap();
        let kept = ledger.kept_plan(&digest).unwrap();
        assert_eq!((kept.bundle.as_slice(), kept.origin), (&b"bundle"[..], origin()));

        let unknown = ledger.kept_plan(&Digest::ZERO).unwrap_err();
        assert_eq!(crate::fault::exit(&unknown), Exit::Invalid);
        fs::write(ledger.plan_folder(&digest).join("bundle"), b"another").unwrap();
        let changed = ledger.kept_plan(&digest).unwrap_err();
        assert_eq!(crate::fault::exit(&changed), Exit::SignatureInvalid);
        ledger.keep_plan(&plan(b"bundle"), b"bundle", &origin()).unwrap();
        fs::write(ledger.plan_folder(&digest).join("plan.json"), b"{}").unwrap();
        assert!(ledger.kept_plan(&digest).is_err());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(Places::new(folder.path()).unwrap()).unwrap();
        let mut digests = Vec::new();
        for n in 0..=KEPT_PLANS_MAX {
            let bundle = n.to_be_bytes();
            let digest = ledger.keep_plan(&plan(&bundle), &bundle, &origin()).unwrap();
            // Clocks of file systems are coarse: the age is said, not waited for.
            let file = fs::File::open(ledger.plan_folder(&digest).join("plan.json")).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 + n as u64);
            file.set_modified(at).unwrap();
            digests.push(digest);
        }
        assert!(ledger.kept_plan(&digests[0]).is_err());
        assert!(digests[1..].iter().all(|digest| ledger.kept_plan(digest).is_ok()));
    }
}
