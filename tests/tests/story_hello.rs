//! Story: a host is brought into a state, proven, and found to be in it the second time.

use std::collections::BTreeMap;

use writ_protocol::digest::Digest;
use writ_protocol::evidence::verify::{Fault, verify};
use writ_protocol::evidence::{archive, pack};
use writ_tests::world::{Options, story};

const HELLO: &str = r#"
  - file: "@/greeting"
    content: "hello from a story\n"
    mode: "0640"
  - command: report
    argv: [sh, -c, "cat @/greeting @/greeting > @/report"]
    creates: "@/report"
    artefacts: ["@/report"]
    depends_on: ["file:@/greeting"]
"#;

#[test]
fn a_run_changes_a_host_once_and_its_evidence_holds() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let run = world.run(HELLO)?;
        assert_eq!(run.state, "succeeded", "{run:?}");
        assert_eq!(world.read("greeting"), "hello from a story\n");

        let client = world.client()?;
        let artefacts = client.artefacts(&run.id)?;
        assert_eq!(artefacts.len(), 1);
        let bytes = client.blob(&run.id, &artefacts[0].digest)?;
        let made = world.read("report").into_bytes();
        assert_eq!(bytes, made, "what came back is what the host made");

        let again = world.run(HELLO)?;
        assert_eq!(again.state, "succeeded", "{again:?}");
        let steps = world.steps(&again)?;
        let unchanged = steps.iter().filter(|step| step.outcome == "unchanged").count();
        assert_eq!((unchanged, steps.len()), (2, 2), "{steps:?}");

        prove(&client.evidence(&run.id)?, world.root(), &bytes)
    })
}

/// The pack verifies; changed by one byte it is invalid, without a batch it is refused.
#[expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "part of a test, which may fail in any way"
)]
fn prove(packed: &[u8], root: &Digest, artefact: &[u8]) -> anyhow::Result<()> {
    let report = verify(packed, root)?;
    assert_eq!(report.state, "succeeded");
    assert_eq!(report.orders[0].artefacts[0].digest, Digest::of(artefact));
    let stranger = Digest::of(b"another root");
    assert!(matches!(verify(packed, &stranger), Err(Fault::Invalid(_))));

    let files = archive::read(packed)?;
    let batch = files
        .keys()
        .find(|name| name.contains("/batches/"))
        .cloned()
        .expect("a batch");
    for (name, content) in &files {
        let mut bent = content.to_vec();
        let middle = bent.len() / 2;
        bent[middle] ^= 1;
        let mut changed: BTreeMap<_, _> = files.clone();
        changed.insert(name.clone(), &bent);
        let error = verify(&archive::write(&changed)?, root).expect_err(name);
        assert!(matches!(error, Fault::Invalid(_)), "{name}: {error}");
    }
    let mut fewer = files.clone();
    fewer.remove(&batch);
    assert!(matches!(
        verify(&archive::write(&fewer)?, root),
        Err(Fault::Incomplete(_))
    ));
    fewer = files;
    fewer.remove(pack::SEAL);
    assert!(matches!(
        verify(&archive::write(&fewer)?, root),
        Err(Fault::Incomplete(_))
    ));
    Ok(())
}
