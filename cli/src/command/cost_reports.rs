//! `writ cost reports|sign|fetch|verify`: signed reports of what weeks cost.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use writ_protocol::cost_report::{self, REPORT_BYTES_MAX, SignedReport, Week};
use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;

use super::Desk;
use super::evidence::{root_of, write_new};
use crate::api::StoredCostReport;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::table;

/// Name of the signature's file.
const ENVELOPE: &str = "statement.dsse.json";
/// Names of the documents of trust.
const TRUST: [&str; 2] = ["root.json", "policy.json"];

pub(super) fn list(desk: &Desk) -> anyhow::Result<()> {
    desk.list(&desk.client()?.cost_reports()?, told)
}

pub(super) fn sign(desk: &Desk, week: &str) -> anyhow::Result<()> {
    let made = desk.client()?.sign_costs(named(week)?)?;
    desk.printer.show(&made, || told(std::slice::from_ref(&made)))
}

/// Writes the parts of a report into a new folder.
pub(super) fn fetch(desk: &Desk, week: &str, out: &Path, digest: Option<&str>) -> anyhow::Result<()> {
    let digest = digest.map(str::parse::<Digest>).transpose();
    let digest = digest.map_err(|_| {
        Fault::new(
            Exit::Usage,
            "the digest is 64 hexadecimal digits: `writ cost reports`",
        )
    })?;
    let found = desk.client()?.cost_report(named(week)?, digest.as_ref())?;
    std::fs::create_dir(out).with_context(|| format!("making {}", out.display()))?;
    let name = name_of(&found.report.week);
    let [root, policy] = TRUST;
    let parts = [
        (format!("{name}.json"), &found.document),
        (format!("{name}.md"), &found.rendering),
        (ENVELOPE.to_owned(), &found.envelope),
        (root.to_owned(), &found.root),
        (policy.to_owned(), &found.policy),
    ];
    for (file, text) in &parts {
        write_new(&out.join(file), text.as_bytes())?;
    }
    let value = json!({ "week": found.report.week, "digest": found.report.digest, "folder": out });
    desk.printer.show(&value, || {
        format!("{0}/{name}.md\nnext: writ cost verify {0}", out.display())
    })
}

/// Verifies the report in a folder; nothing but the root's fingerprint is believed.
pub(super) fn verify(desk: &Desk, folder: &Path, root: Option<&str>) -> anyhow::Result<()> {
    let pinned = root_of(desk, root)?;
    let name = report_in(folder)?;
    let [root, policy] = TRUST.map(|file| read(&folder.join(file)));
    let report = SignedReport {
        document: read(&folder.join(format!("{name}.json")))?,
        rendering: read(&folder.join(format!("{name}.md")))?,
        envelope: read(&folder.join(ENVELOPE))?,
    };
    let found = cost_report::verify(&report, (&root?, &policy?), &pinned).map_err(|error| {
        let detail = format!("{:#}", anyhow::Error::new(error));
        Fault::coded(Code::SignatureInvalid, detail)
            .help("do not rely on this report; fetch it again and compare")
    })?;
    let value = json!({ "verified": true, "root": pinned, "report": found });
    desk.printer.show(&value, || {
        format!(
            "{}\nverified: signed by the controller of {}, and it adds up",
            found.rendering(),
            found.tenant
        )
    })
}

/// The name of the one report in a folder.
fn report_in(folder: &Path) -> anyhow::Result<String> {
    let listed = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names: Vec<String> = listed
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| file.strip_suffix(".json").map(str::to_owned))
        .filter(|name| name.starts_with("COST_REPORT_"))
        .collect();
    if let (Some(name), true) = (names.pop(), names.is_empty()) {
        return Ok(name);
    }
    let what = format!("{} does not hold one report of costs", folder.display());
    Err(Fault::new(Exit::Usage, what)
        .help("writ cost fetch WEEK --out DIR")
        .into())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut bytes = Vec::new();
    // One more than is accepted, so that what is longer is refused and not cut.
    file.take(REPORT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(bytes)
}

fn name_of(week: &str) -> String {
    format!("COST_REPORT_{}", week.replace('-', ""))
}

fn named(week: &str) -> Result<&str, Fault> {
    match Week::named(week) {
        Some(_) => Ok(week),
        None => Err(Fault::new(
            Exit::Usage,
            format!("{week:?} is no week such as 2026-W47"),
        )),
    }
}

fn told(reports: &[StoredCostReport]) -> String {
    let rows = reports.iter().map(|one| {
        [
            one.week.clone(),
            one.digest.get(..12).unwrap_or_default().to_owned(),
            one.orders.to_string(),
            crate::output::money(one.counted_micros, ""),
            one.made_by.clone(),
            one.made_at.clone(),
        ]
    });
    table(["week", "digest", "orders", "counted", "by", "made"], rows)
}
