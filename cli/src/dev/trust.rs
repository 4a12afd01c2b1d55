//! The root of trust of a private stack, and of this machine's own runs: three root keys of which two must sign, a root, and a policy that gives
//! the controller its roles.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::key::SigningKey;
use writ_protocol::statement;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::{self, Role, RoleKeys, Root, TrustPolicy, TrustedKey};

use super::layout::write_file;

/// The tenant of a private stack.
pub const TENANT: &str = "dev";
/// Names of the documents.
const ROOT: &str = "root.json";
const POLICY: &str = "policy.json";
/// Root keys, and how many of them must sign.
const ROOT_KEYS: usize = 3;
const ROOT_THRESHOLD: u8 = 2;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Keys count from a little before now, because clocks differ.
const SLACK: Duration = Duration::from_secs(600);
/// The controller's online roles; the file of each key bears the role's name.
const CONTROLLER_ROLES: [(Role, &str); 5] = [
    (Role::Plan, "plan"),
    (Role::Director, "director"),
    (Role::Registry, "registry"),
    (Role::Control, "control"),
    (Role::Evidence, "evidence"),
];

/// Where keys and trust lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vault {
    /// Root and trust policy.
    pub trust: PathBuf,
    /// The keys of the online roles.
    pub keys: PathBuf,
    /// Root keys and the operator's own.
    pub secrets: PathBuf,
}

impl Vault {
    /// The operator's own signing key.
    pub fn operator_key(&self) -> PathBuf {
        self.secrets.join("operator.pem")
    }

    /// The key of an online role.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn role_key(&self, name: &str) -> anyhow::Result<SigningKey> {
        load_key(&self.keys.join(format!("{name}.pem")))
    }

    /// The root's and the policy's envelopes, as they lie there.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn documents(&self) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        let read = |name: &str| {
            let path = self.trust.join(name);
            fs::read(&path).with_context(|| format!("reading {}", path.display()))
        };
        Ok((read(ROOT)?, read(POLICY)?))
    }
}

/// Makes whatever is missing of keys, root and policy, and a next policy where the present one has less than half of its days left or
/// is from before people could approve; the fingerprint by which the root is pinned.
///
/// # Errors
/// When a key or document cannot be read, made or written.
pub fn ensure(vault: &Vault, tenant: &str, now: Timestamp) -> anyhow::Result<Digest> {
    let roots = (1..=ROOT_KEYS)
        .map(|n| load_or_make(&vault.secrets.join(format!("root-{n}.pem"))))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let signers: Vec<&SigningKey> = roots.iter().take(usize::from(ROOT_THRESHOLD)).collect();
    let root_path = vault.trust.join(ROOT);
    if !root_path.exists() {
        let root = Root {
            version: 1,
            expires_at: now.plus(10 * YEAR),
            keys: root_keys(&roots, now),
        };
        write_file(&root_path, &trust::sign_root(root, &signers)?.to_json()?, 0o644)?;
    }
    let policy_path = vault.trust.join(POLICY);
    let next = if policy_path.exists() {
        let (_, present) = vault.documents()?;
        let present = statement::peek::<TrustPolicy>(&Envelope::parse(&present)?)?.predicate;
        let is_old = present.expires_at.since(now) < YEAR / 2;
        let lacks_approver = !present.roles.contains_key(&Role::Approver);
        if is_old || lacks_approver {
            let mut next = longer(present, now);
            if lacks_approver {
                next.roles.insert(Role::Approver, approver(vault, now)?);
            }
            Some(next)
        } else {
            None
        }
    } else {
        Some(policy(vault, tenant, now)?)
    };
    if let Some(next) = next {
        write_file(
            &policy_path,
            &trust::sign_policy(next, &signers)?.to_json()?,
            0o644,
        )?;
    }
    let bytes = fs::read(&root_path).with_context(|| format!("reading {}", root_path.display()))?;
    Ok(trust::fingerprint(&Envelope::parse(&bytes)?))
}

/// The policy after this one: the same keys for another year. What they signed before counts as before.
fn longer(mut policy: TrustPolicy, now: Timestamp) -> TrustPolicy {
    policy.version = policy.version.saturating_add(1);
    (policy.issued_at, policy.expires_at) = (now, now.plus(YEAR));
    for key in policy.roles.values_mut().flat_map(|role| role.keys.iter_mut()) {
        key.not_after = now.plus(YEAR);
    }
    policy
}

fn root_keys(roots: &[SigningKey], now: Timestamp) -> RoleKeys {
    let keys = roots
        .iter()
        .enumerate()
        .map(|(n, key)| trusted(key, &format!("root-{}", n + 1), 10 * YEAR, now));
    RoleKeys {
        threshold: ROOT_THRESHOLD,
        keys: keys.collect(),
    }
}

fn policy(vault: &Vault, tenant: &str, now: Timestamp) -> anyhow::Result<TrustPolicy> {
    let mut roles = BTreeMap::new();
    for (role, name) in CONTROLLER_ROLES {
        let key = load_or_make(&vault.keys.join(format!("{name}.pem")))?;
        let key = trusted(&key, "controller", YEAR, now);
        if role == Role::Control {
            // Lifting a halt takes two: the controller and a person.
            let operator = trusted(&load_or_make(&vault.operator_key())?, "operator", YEAR, now);
            roles.insert(
                Role::ControlLift,
                RoleKeys {
                    threshold: 2,
                    keys: vec![key.clone(), operator],
                },
            );
        }
        roles.insert(
            role,
            RoleKeys {
                threshold: 1,
                keys: vec![key],
            },
        );
    }
    roles.insert(Role::Approver, approver(vault, now)?);
    Ok(TrustPolicy {
        tenant: tenant.to_owned(),
        epoch: 1,
        version: 1,
        issued_at: now,
        expires_at: now.plus(YEAR),
        roles,
        revoked: Vec::new(),
    })
}

/// Who approves: the operator, with a key that no controller has.
fn approver(vault: &Vault, now: Timestamp) -> anyhow::Result<RoleKeys> {
    let key = load_or_make(&vault.operator_key())?;
    Ok(RoleKeys {
        threshold: 1,
        keys: vec![trusted(&key, "operator", YEAR, now)],
    })
}

fn trusted(key: &SigningKey, principal: &str, life: Duration, now: Timestamp) -> TrustedKey {
    TrustedKey {
        public_key: key.public(),
        principal: principal.to_owned(),
        not_before: now.minus(SLACK),
        not_after: now.plus(life),
    }
}

fn load_or_make(path: &Path) -> anyhow::Result<SigningKey> {
    if path.exists() {
        return load_key(path);
    }
    let key = SigningKey::generate()?;
    write_file(path, key.to_pem()?.as_bytes(), 0o600)?;
    Ok(key)
}

/// Reads a private key file.
///
/// # Errors
/// When it cannot be read or holds no key.
pub fn load_key(path: &Path) -> anyhow::Result<SigningKey> {
    let text = fs::read_to_string(path).map(zeroize::Zeroizing::new);
    let text = text.with_context(|| format!("reading {}", path.display()))?;
    SigningKey::from_pem(&text).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::layout::Layout;
    use writ_protocol::bundle::BundleStatement;
    use writ_protocol::halt::{self, Lift};
    use writ_protocol::id::HaltId;
    use writ_protocol::trust::Keyring;

    #[test]
    fn the_documents_verify_and_a_lift_needs_controller_and_operator() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        layout.make().unwrap();
        let now = Timestamp::from_millis(1_790_000_000_000);
        let vault = layout.vault();
        let pin = ensure(&vault, TENANT, now).unwrap();
        assert_eq!(
            pin,
            ensure(&vault, TENANT, now.plus(SLACK)).unwrap(),
            "a second time changes nothing"
        );
        let read = |name: &str| fs::read(layout.trust().join(name)).unwrap();
        let keyring = Keyring::from_pinned(&read("root.json"), &pin, &read("policy.json"), now).unwrap();
        assert_eq!(keyring.tenant(), TENANT);

        let lift = Lift {
            tenant: TENANT.into(),
            halt_id: HaltId::from_uuid(uuid::Uuid::from_u128(1)),
            control_epoch: 2,
            reason: "over".into(),
            issued_at: now,
        };
        let operator = load_key(&layout.operator_key()).unwrap();
        let control = load_key(&layout.keys().join("control.pem")).unwrap();
        let bytes = |keys: &[&SigningKey]| halt::sign_lift(lift.clone(), keys).unwrap().to_json().unwrap();
        assert!(halt::open_lift(&bytes(&[&operator]), &keyring, now).is_err());
        assert!(halt::open_lift(&bytes(&[&operator, &control]), &keyring, now).is_ok());
    }

    #[test]
    fn a_policy_is_followed_by_a_longer_one_before_its_days_are_over() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        layout.make().unwrap();
        let (vault, now) = (layout.vault(), Timestamp::from_millis(1_790_000_000_000));
        let pin = ensure(&vault, "local", now).unwrap();
        let (_, first) = vault.documents().unwrap();
        let later = now.plus(YEAR * 3 / 4);
        assert_eq!(ensure(&vault, "local", later).unwrap(), pin);
        let (root, second) = vault.documents().unwrap();
        let known = Keyring::from_pinned(&root, &pin, &first, now).unwrap();
        let longer = known.with_policy(&second, later).unwrap();
        assert_eq!((longer.policy().version, longer.tenant()), (2, "local"));
        // One from before people could approve is followed by one with which they can.
        assert!(longer.policy().roles.contains_key(&Role::Approver));
        let mut before = longer.policy().clone();
        before.roles.remove(&Role::Approver);
        let roots = [1, 2].map(|n| load_key(&vault.secrets.join(format!("root-{n}.pem"))).unwrap());
        let envelope = trust::sign_policy(before, &[&roots[0], &roots[1]]).unwrap();
        fs::write(vault.trust.join(POLICY), envelope.to_json().unwrap()).unwrap();
        ensure(&vault, "local", later).unwrap();
        let (_, third) = vault.documents().unwrap();
        let with = longer.with_policy(&third, later).unwrap();
        assert_eq!(with.policy().version, 3);
        assert!(with.policy().roles.contains_key(&Role::Approver));
        let at_the_end = now.plus(YEAR + YEAR / 2);
        assert!(Keyring::from_pinned(&root, &pin, &first, at_the_end).is_err());
        let still = Keyring::from_pinned(&root, &pin, &second, at_the_end).unwrap();
        let plan = vault.role_key("plan").unwrap();
        let word = statement::sign(
            vec![statement::Subject::new("x", &Digest::ZERO)],
            bundle_word(now),
            &[&plan],
        );
        let signed_before = word.unwrap().to_json().unwrap();
        assert!(still.open::<BundleStatement>(&signed_before, now).is_ok());
    }

    fn bundle_word(now: Timestamp) -> BundleStatement {
        BundleStatement {
            tenant: "local".into(),
            project: "p".into(),
            config_digest: Digest::ZERO,
            graph_digest: Digest::ZERO,
            author: "a".into(),
            issued_at: now,
        }
    }
}
