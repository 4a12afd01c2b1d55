//! The root of trust of a private stack: three root keys of which two must sign, a root, and a policy that gives the controller its roles.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::key::SigningKey;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::{self, Role, RoleKeys, Root, TrustPolicy, TrustedKey};

use super::layout::{Layout, write_file};

/// The tenant of a private stack.
pub const TENANT: &str = "dev";
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

/// Makes whatever is missing of keys, root and policy; the fingerprint by which the root is pinned.
///
/// # Errors
/// When a key or document cannot be read, made or written.
pub fn ensure(layout: &Layout, now: Timestamp) -> anyhow::Result<Digest> {
    let roots = (1..=ROOT_KEYS)
        .map(|n| load_or_make(&layout.secrets().join(format!("root-{n}.pem"))))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let signers: Vec<&SigningKey> = roots.iter().take(usize::from(ROOT_THRESHOLD)).collect();
    let root_path = layout.trust().join("root.json");
    if !root_path.exists() {
        let root = Root {
            version: 1,
            expires_at: now.plus(10 * YEAR),
            keys: root_keys(&roots, now),
        };
        write_file(&root_path, &trust::sign_root(root, &signers)?.to_json()?, 0o644)?;
    }
    let policy_path = layout.trust().join("policy.json");
    if !policy_path.exists() {
        let policy = policy(layout, now)?;
        write_file(
            &policy_path,
            &trust::sign_policy(policy, &signers)?.to_json()?,
            0o644,
        )?;
    }
    let bytes = fs::read(&root_path).with_context(|| format!("reading {}", root_path.display()))?;
    Ok(trust::fingerprint(&Envelope::parse(&bytes)?))
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

fn policy(layout: &Layout, now: Timestamp) -> anyhow::Result<TrustPolicy> {
    let mut roles = BTreeMap::new();
    for (role, name) in CONTROLLER_ROLES {
        let key = load_or_make(&layout.keys().join(format!("{name}.pem")))?;
        let key = trusted(&key, "controller", YEAR, now);
        if role == Role::Control {
            // Lifting a halt takes two: the controller and a person.
            let operator = trusted(&load_or_make(&layout.operator_key())?, "operator", YEAR, now);
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
    Ok(TrustPolicy {
        tenant: TENANT.to_owned(),
        epoch: 1,
        version: 1,
        issued_at: now,
        expires_at: now.plus(YEAR),
        roles,
        revoked: Vec::new(),
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
    use writ_protocol::halt::{self, Lift};
    use writ_protocol::id::HaltId;
    use writ_protocol::trust::Keyring;

    #[test]
    fn the_documents_verify_and_a_lift_needs_controller_and_operator() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        layout.make().unwrap();
        let now = Timestamp::from_millis(1_790_000_000_000);
        let pin = ensure(&layout, now).unwrap();
        assert_eq!(
            pin,
            ensure(&layout, now.plus(SLACK)).unwrap(),
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
}
