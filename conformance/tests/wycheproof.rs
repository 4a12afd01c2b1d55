//! Project Wycheproof's Ed25519 vectors against our strict verifier: malleable, truncated and edge-case signatures.

use serde::Deserialize;
use writ_protocol::key::{PublicKey, Signature};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Suite {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    public_key: Key,
    public_key_pem: String,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Key {
    pk: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    tc_id: u32,
    comment: String,
    msg: String,
    sig: String,
    result: String,
}

#[test]
fn every_wycheproof_signature_is_judged_as_published() {
    let hex = |text: &str| {
        data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .expect("hexadecimal")
    };
    let path = writ_conformance::shelf::folder().join("wycheproof/ed25519_test.json");
    let suite: Suite = serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("parses");
    let (mut count, mut valid) = (0, 0);
    for group in suite.test_groups {
        let key = PublicKey::from_slice(&hex(&group.public_key.pk)).expect("a public key");
        assert_eq!(
            PublicKey::from_pem(&group.public_key_pem).expect("the same in PEM"),
            key
        );
        for test in group.tests {
            let holds = <[u8; 64]>::try_from(hex(&test.sig))
                .is_ok_and(|sig| key.verify_detached(&hex(&test.msg), &Signature::from_bytes(sig)));
            assert_eq!(holds, test.result == "valid", "{} {}", test.tc_id, test.comment);
            (count, valid) = (count + 1, valid + usize::from(holds));
        }
    }
    assert_eq!((count, valid), (suite.number_of_tests, 88));
}
