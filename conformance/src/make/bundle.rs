//! Areas `bundle` and `graph`: what agents carry out.

mod egress;
mod system;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use writ_protocol::bundle::BundleStatement;
use writ_protocol::codec;
use writ_protocol::digest::Digest;
use writ_protocol::graph::{
    CONDITION_DEPTH_MAX, Comparison, Condition, Fact, FileState, Graph, Selection, Spec,
};
use writ_protocol::manifest::BundleRef;
use writ_protocol::reason::Code;
use writ_protocol::statement::{self, Subject};

use super::{Area, Given, flip, put};
use crate::case::{Check, Context, Vector};
use crate::run::{Golden, bundle_statement, golden, graph};
use crate::world::{MakeError, context, key, seed};

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut graphs = Area::new("graph");
    graph_cases(&mut graphs)?;
    Ok([of(&golden()?)?, graphs.vectors].concat())
}

/// The vectors of bundles around any one, such as one for an agent that is examined. Each says by which name it is ordered.
pub(crate) fn of(golden: &Golden) -> Result<Vec<Vector>, MakeError> {
    let mut bundles = Area::new("bundle");
    bundle(&mut bundles, golden)?;
    parts(&mut bundles, golden)?;
    Ok(bundles.vectors)
}

/// Bytes as MessagePack `bin`.
struct Bin(Vec<u8>);

impl Serialize for Bin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// The wire form, open to every mistake.
#[derive(Serialize)]
struct Wire {
    v: u16,
    statement: Bin,
    graph: Bin,
    blobs: BTreeMap<Digest, Bin>,
}

/// A bundle whose statement names these subjects; all else is as it should be until the caller changes it.
fn wire(golden: &Golden, said: BundleStatement, seed: u8) -> Result<Wire, MakeError> {
    let graph = golden.graph.encode()?;
    let mut subject = vec![Subject::new("graph", &Digest::of(&graph))];
    subject.extend(
        golden
            .blobs
            .keys()
            .map(|digest| Subject::new(format!("blob/{digest}"), digest)),
    );
    let said = BundleStatement {
        graph_digest: Digest::of(&graph),
        ..said
    };
    Ok(Wire {
        v: 1,
        statement: Bin(statement::sign(subject, said, &[&key(seed)])?.to_json()?),
        graph: Bin(graph),
        blobs: golden
            .blobs
            .iter()
            .map(|(digest, bytes)| (*digest, Bin(bytes.clone())))
            .collect(),
    })
}

fn pack(wire: &Wire) -> Result<Vec<u8>, MakeError> {
    Ok(codec::to_msgpack("bundle", wire)?)
}

/// The reader was told the true name of these bytes: only what is inside can be wrong.
fn given(bytes: Vec<u8>) -> Result<Given, MakeError> {
    let name = BundleRef {
        digest: Digest::of(&bytes),
        length: bytes.len() as u64,
    };
    named(bytes, name)
}

fn named(bytes: Vec<u8>, name: BundleRef) -> Result<Given, MakeError> {
    let context = Context {
        bundle: Some(name),
        ..context()?
    };
    Ok(Given::new(Check::BundleOpen, "bundle.msgpack", bytes, context))
}

fn bundle(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    let said = BundleStatement {
        graph_digest: Digest::of(&golden.graph.encode()?),
        ..bundle_statement()
    };
    let blobs: Vec<&Digest> = golden.blobs.keys().collect();
    area.good(
        "one-file-one-command",
        "Length, digest, signature and every part fit.",
        named(golden.bundle.clone(), golden.bundle_ref)?,
        json!({ "statement": said, "blobs": blobs, "held": true }),
    );
    let digest = ("bundle/digest", Code::DigestMismatch);
    area.coded(
        "one-bit",
        "One bit differs from what was ordered: refused before anything is parsed.",
        named(flip(&golden.bundle, 900), golden.bundle_ref)?,
        digest,
    );
    let mut longer = golden.bundle.clone();
    longer.push(0);
    area.coded(
        "longer",
        "One byte more than was ordered.",
        named(longer, golden.bundle_ref)?,
        digest,
    );
    let untrusted = ("envelope/untrusted", Code::SignatureInvalid);
    area.coded(
        "wrong-role",
        "Signed by the director, which may order bundles and not make them.",
        given(pack(&wire(golden, bundle_statement(), seed::DIRECTOR)?)?)?,
        untrusted,
    );
    area.coded(
        "forged",
        "Signed by a key that nobody trusts.",
        given(pack(&wire(golden, bundle_statement(), seed::STRANGER)?)?)?,
        untrusted,
    );
    let malformed = ("codec/malformed", Code::Malformed);
    area.coded(
        "not-msgpack",
        "Bytes that are no bundle, under their true name.",
        given(vec![0xc1; 64])?,
        malformed,
    );
    let cut = golden
        .bundle
        .get(..golden.bundle.len() - 9)
        .unwrap_or_default()
        .to_vec();
    area.coded(
        "cut-short",
        "The last blob is cut, under the cut bytes' name.",
        given(cut)?,
        malformed,
    );
    Ok(())
}

fn parts(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    let mismatch = ("bundle/mismatch", Code::DigestMismatch);
    let tenant = BundleStatement {
        tenant: "other".to_owned(),
        ..bundle_statement()
    };
    area.coded(
        "other-tenant",
        "Well signed, but made for another tenant.",
        given(pack(&wire(golden, tenant, seed::PLAN)?)?)?,
        mismatch,
    );
    let mut changed = |name, why, change: fn(&mut Wire)| -> Result<(), MakeError> {
        let mut wire = wire(golden, bundle_statement(), seed::PLAN)?;
        change(&mut wire);
        area.coded(name, why, given(pack(&wire)?)?, mismatch);
        Ok(())
    };
    changed(
        "later-version",
        "A later form of bundle is not guessed at.",
        |wire| wire.v = 2,
    )?;
    changed(
        "other-graph",
        "The statement names the digest of another graph.",
        |wire| wire.graph.0.push(0),
    )?;
    changed(
        "blob-missing",
        "The graph needs a file that is not in the bundle.",
        |wire| wire.blobs.clear(),
    )?;
    changed(
        "blob-unnamed",
        "A file was added that the statement does not name.",
        |wire| {
            wire.blobs.insert(Digest::of(b"more"), Bin(b"more".to_vec()));
        },
    )?;
    changed(
        "blob-changed",
        "A file's bytes are not those of its name.",
        |wire| {
            for blob in wire.blobs.values_mut() {
                blob.0 = b"listen 6666\n".to_vec();
            }
        },
    )
}

fn graph_cases(area: &mut Area) -> Result<(), MakeError> {
    let given = |bytes: Vec<u8>| Given::new(Check::GraphDecode, "graph.msgpack", bytes, Context::default());
    area.good(
        "file-and-command",
        "Both kinds of resource, with a dependency and a notification.",
        given(graph().encode()?),
        json!(graph()),
    );
    system::cases(area)?;
    egress::cases(area)?;
    let empty = Graph {
        resources: vec![],
        ..graph()
    };
    area.good(
        "empty",
        "A graph may ask for nothing.",
        given(empty.encode()?),
        json!(empty),
    );
    let part = part();
    area.good(
        "conditions-of-a-part",
        "Resources that apply on some hosts only, in a graph that is a part of its config.",
        given(part.encode()?),
        json!(part),
    );
    for (name, why, change) in RULES {
        let mut graph = graph();
        change(&mut graph);
        area.bad(
            name,
            why,
            given(codec::to_msgpack("graph", &graph)?),
            "graph/rule",
        );
    }
    broken_bytes(area)
}

fn broken_bytes(area: &mut Area) -> Result<(), MakeError> {
    let given = |bytes: Vec<u8>| Given::new(Check::GraphDecode, "graph.msgpack", bytes, Context::default());
    let good = graph().encode()?;
    let mut trailing = good.clone();
    trailing.push(0);
    area.bad(
        "trailing-byte",
        "Every byte must belong to the graph.",
        given(trailing),
        "codec/trailing",
    );
    let cut = good.get(..good.len() / 2).unwrap_or_default().to_vec();
    area.bad(
        "cut-short",
        "Half a graph is none.",
        given(cut),
        "codec/malformed",
    );
    let mut more = serde_json::to_value(graph())?;
    put(&mut more, "/resources/0/become", json!("root"))?;
    let more = codec::to_msgpack("graph", &more)?;
    area.bad(
        "unknown-field",
        "A field that this agent does not know might be a condition.",
        given(more),
        "codec/malformed",
    );
    let deep = [vec![0x91; 5_000], vec![0x90]].concat();
    area.bad(
        "too-deep",
        "Nesting is bounded, so that no reader runs out of stack.",
        given(deep),
        "codec/malformed",
    );
    let huge = [&[0xdd_u8, 0xff, 0xff, 0xff, 0xff][..], &[0xc0]].concat();
    area.bad(
        "length-lies",
        "An array that says it has four milliard entries and has one: nothing is allocated on its word.",
        given(huge),
        "codec/malformed",
    );
    Ok(())
}

/// A graph with conditions that is a part of its config.
fn part() -> Graph {
    let mut part = graph();
    for resource in &mut part.resources {
        resource.when = Some(condition());
    }
    part.selection = Some(Selection {
        targets: vec![],
        tags: vec!["site".to_owned(), "web".to_owned()],
        skip_tags: vec!["slow".to_owned()],
        left_out: 3,
    });
    part
}

/// A condition of every kind.
fn condition() -> Condition {
    Condition::All(vec![
        Condition::Any(vec![
            Condition::OneOf {
                fact: Fact::OsId,
                values: vec!["debian".to_owned(), "ubuntu".to_owned()],
            },
            Condition::Number {
                fact: Fact::Cpus,
                is: Comparison::AtLeast,
                value: 4,
            },
        ]),
        Condition::Not(Box::new(Condition::OneOf {
            fact: Fact::Arch,
            values: vec!["aarch64".to_owned()],
        })),
    ])
}

fn first_when(graph: &mut Graph, when: Condition) {
    if let Some(first) = graph.resources.first_mut() {
        first.when = Some(when);
    }
}

type Rule = (&'static str, &'static str, fn(&mut Graph));

/// Name, why, and the one thing that is wrong with the graph.
const RULES: [Rule; 15] = [
    (
        "condition-number-as-text",
        "A number is not compared as a text.",
        |g| {
            let values = vec!["4".to_owned()];
            first_when(
                g,
                Condition::OneOf {
                    fact: Fact::Cpus,
                    values,
                },
            );
        },
    ),
    (
        "condition-of-nothing",
        "What connects nothing says nothing.",
        |g| {
            first_when(g, Condition::Any(vec![]));
        },
    ),
    ("condition-too-deep", "Nesting of conditions is bounded.", |g| {
        let deep = (0..CONDITION_DEPTH_MAX).fold(condition(), |one, _| Condition::Not(Box::new(one)));
        first_when(g, deep);
    }),
    ("selection-unsorted", "Equal selections have equal bytes.", |g| {
        g.selection = Some(Selection {
            tags: vec!["web".to_owned(), "base".to_owned()],
            ..Selection::default()
        });
    }),
    ("later-version", "A later form of graph is not guessed at.", |g| {
        g.version = 2;
    }),
    (
        "dependency-later",
        "A resource stands after all that it depends on.",
        |g| g.resources.reverse(),
    ),
    ("same-id-twice", "Ids are unique.", |g| {
        if let Some(first) = g.resources.first().cloned() {
            g.resources.push(first);
        }
    }),
    (
        "notifies-nobody",
        "A resource that is notified must exist.",
        |g| {
            first(g, |r| r.notify = vec!["service:none".to_owned()]);
        },
    ),
    ("empty-id", "A resource has a name.", |g| {
        first(g, |r| r.id = String::new());
    }),
    ("relative-path", "Paths are absolute.", |g| {
        path(g, "etc/app.conf");
    }),
    (
        "dotted-path",
        "Paths have no `..`, so that what is reviewed is what is written.",
        |g| {
            path(g, "/etc/../root/.ssh/authorized_keys");
        },
    ),
    ("root-directory", "The root directory cannot be managed.", |g| {
        path(g, "/");
    }),
    ("mode-too-high", "Permission bits end at 07777.", |g| {
        first(g, |r| {
            if let Spec::File(file) = &mut r.spec {
                file.mode = Some(0o10_000);
            }
        });
    }),
    ("empty-argv", "A command names a program.", |g| {
        if let Some(Spec::Command(command)) = g.resources.last_mut().map(|r| &mut r.spec) {
            command.argv.clear();
        }
    }),
    ("environment-name", "An environment name holds no `=`.", |g| {
        if let Some(Spec::Command(command)) = g.resources.last_mut().map(|r| &mut r.spec) {
            command.env.insert("A=B".to_owned(), String::new());
        }
    }),
];

fn first(graph: &mut Graph, change: impl FnOnce(&mut writ_protocol::graph::Resource)) {
    if let Some(resource) = graph.resources.first_mut() {
        change(resource);
    }
}

fn path(graph: &mut Graph, path: &str) {
    first(graph, |resource| {
        if let Spec::File(file) = &mut resource.spec {
            path.clone_into(&mut file.path);
            file.state = FileState::Directory;
        }
    });
}
