//! Graphs whose commands name destinations: every form of one, and lists that a reader must refuse.

use serde_json::json;
use writ_protocol::codec;
use writ_protocol::egress::Destination;
use writ_protocol::exec::Isolation;
use writ_protocol::graph::{CommandSpec, Graph, Spec};

use super::{Area, Given, put};
use crate::case::{Check, Context};
use crate::run::graph;
use crate::world::MakeError;

/// Every form, in their order.
const FORMS: [&str; 6] = [
    "example.com:443",
    ".example.com:443",
    "192.0.2.7:80",
    "[2001:db8::7]:80",
    "cidr:10.1.0.0/16:443",
    "cidr:[fd00::/8]:443",
];

pub(super) fn cases(area: &mut Area) -> Result<(), MakeError> {
    let given = |bytes: Vec<u8>| Given::new(Check::GraphDecode, "graph.msgpack", bytes, Context::default());
    let good = reaching(|_| {})?;
    area.good(
        "egress",
        "A command that names destinations in every form.",
        given(good.encode()?),
        json!(good),
    );
    let bare = reaching(|command| command.isolation = Isolation::None)?;
    area.bad(
        "egress-without-a-wall",
        "A command that sees the whole network is not held to destinations.",
        given(codec::to_msgpack("graph", &bare)?),
        "graph/rule",
    );
    let unsorted = reaching(|command| command.egress.reverse())?;
    area.bad(
        "egress-unsorted",
        "Equal lists have equal bytes.",
        given(codec::to_msgpack("graph", &unsorted)?),
        "graph/rule",
    );
    let at = good.resources.len().saturating_sub(1);
    let mut spelt = serde_json::to_value(&good)?;
    put(
        &mut spelt,
        &format!("/resources/{at}/spec/command/egress"),
        json!(["EXAMPLE.com:443"]),
    )?;
    area.bad(
        "egress-second-spelling",
        "A destination has one form.",
        given(codec::to_msgpack("graph", &spelt)?),
        "codec/malformed",
    );
    Ok(())
}

/// The graph of all areas, its command reaching out.
fn reaching(change: impl FnOnce(&mut CommandSpec)) -> Result<Graph, MakeError> {
    let mut graph = graph();
    if let Some(Spec::Command(command)) = graph.resources.last_mut().map(|resource| &mut resource.spec) {
        let read: Result<Vec<_>, _> = FORMS.iter().map(|text| Destination::parse(text)).collect();
        command.egress = read?;
        command.egress.sort_unstable();
        change(command);
    }
    Ok(graph)
}
