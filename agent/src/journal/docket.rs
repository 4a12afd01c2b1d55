//! What must outlive a crash and is no evidence: the manifests whose orders are not done, as they came, so that an order can be taken up
//! again under the same signature; the halts in force; and the names of orders that were done long ago.
//!
//! Lists are files of entries, each its length, its CRC-32C and its bytes; a torn last entry is one that was never durable.

use std::io;
use std::sync::Arc;

use writ_protocol::id::OrderId;
use writ_protocol::limits::MANIFEST_BYTES_MAX;

use super::disk::{self, Disk};

const MANIFESTS: &str = "docket";
/// The file of the halts in force.
pub const HALTS: &str = "halts";
const DONE: &str = "done";
const DESIRED: &str = "desired";
/// The docket is rewritten when it is larger.
const COMPACT_BYTES: u64 = 4 << 20;
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Names of done orders remembered for ever; older ones are forgotten.
pub const DONE_MAX: usize = 100_000;

/// The docket of one journal directory.
#[derive(Clone, Debug)]
pub struct Docket {
    disk: Arc<dyn Disk>,
}

impl Docket {
    /// The docket on a disk.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    /// The manifests kept, oldest first; a torn end is cut.
    ///
    /// # Errors
    /// What the disk says.
    pub fn manifests(&self) -> io::Result<Vec<Vec<u8>>> {
        self.entries(MANIFESTS)
    }

    /// Adds a manifest, durably; before its orders are accepted.
    ///
    /// # Errors
    /// What the disk says.
    pub fn keep(&self, manifest: &[u8]) -> io::Result<()> {
        if manifest.len() > MANIFEST_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let before = self.length(MANIFESTS)?;
        let mut written = self.append(MANIFESTS, &entry(manifest));
        if written.is_ok() {
            written = self.disk.sync(MANIFESTS);
        }
        if written.is_err() {
            // Half an entry must not stand in front of the next one.
            self.disk.truncate(MANIFESTS, before)?;
        }
        written
    }

    /// Whether [`Docket::compact`] is due.
    pub fn is_large(&self) -> bool {
        self.length(MANIFESTS).is_ok_and(|bytes| bytes > COMPACT_BYTES)
    }

    /// Forgets the manifests for which `keep` says no.
    ///
    /// # Errors
    /// What the disk says; then nothing is forgotten.
    pub fn compact(&self, keep: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        let all = self.manifests()?;
        let kept: Vec<u8> = all.iter().filter(|m| keep(m)).flat_map(|m| entry(m)).collect();
        disk::replace(self.disk.as_ref(), MANIFESTS, &kept)
    }

    /// The envelopes of the halts in force. What is no whole entry is the last one, as it is: this file is only ever replaced as a whole, so it is
    /// damage and no torn end, and what it said must not be forgotten.
    ///
    /// # Errors
    /// What the disk says.
    pub fn halts(&self) -> io::Result<Vec<Vec<u8>>> {
        let bytes = match disk::read_all(self.disk.as_ref(), HALTS, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (mut entries, whole) = split(&bytes);
        entries.extend(
            bytes
                .get(whole..)
                .filter(|rest| !rest.is_empty())
                .map(<[u8]>::to_vec),
        );
        Ok(entries)
    }

    /// Has the files of halts made, so that the first halt does not wait for that.
    ///
    /// # Errors
    /// What the disk says.
    pub fn prepare(&self) -> io::Result<()> {
        if matches!(self.disk.length(HALTS), Err(error) if error.kind() == io::ErrorKind::NotFound) {
            // The second time makes the file that the next halts are written to.
            self.set_halts(&[])?;
            self.set_halts(&[])?;
        }
        Ok(())
    }

    /// Replaces the halts in force, durably.
    ///
    /// # Errors
    /// What the disk says; then the old ones stand.
    pub fn set_halts(&self, halts: &[Vec<u8>]) -> io::Result<()> {
        let bytes: Vec<u8> = halts.iter().flat_map(|halt| entry(halt)).collect();
        disk::replace(self.disk.as_ref(), HALTS, &bytes)
    }

    /// What was kept of what is wanted on this host.
    ///
    /// # Errors
    /// What the disk says.
    pub fn desired(&self) -> io::Result<Option<Vec<u8>>> {
        match disk::read_all(self.disk.as_ref(), DESIRED, FILE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it, durably.
    ///
    /// # Errors
    /// What the disk says; then the old one stands.
    pub fn set_desired(&self, bytes: &[u8]) -> io::Result<()> {
        disk::replace(self.disk.as_ref(), DESIRED, bytes)
    }

    /// Orders known to be done from segments that are gone, oldest first.
    ///
    /// # Errors
    /// What the disk says.
    pub fn done(&self) -> io::Result<Vec<OrderId>> {
        let entries = self.entries(DONE)?;
        Ok(entries
            .iter()
            .filter_map(|bytes| uuid::Uuid::from_slice(bytes).ok())
            .map(OrderId::from_uuid)
            .collect())
    }

    /// Adds done orders, durably; before the segments that say so are removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn add_done(&self, orders: &[OrderId]) -> io::Result<()> {
        let mut all = self.done()?;
        all.extend_from_slice(orders);
        let newest = all.get(all.len().saturating_sub(DONE_MAX)..).unwrap_or_default();
        let bytes: Vec<u8> = newest
            .iter()
            .flat_map(|order| entry(order.as_uuid().as_bytes()))
            .collect();
        disk::replace(self.disk.as_ref(), DONE, &bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        match self.disk.length(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            other => other,
        }
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self.disk.append(name, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.disk.create(name)?;
                self.disk.sync_dir()?;
                self.disk.append(name, bytes)
            }
            other => other,
        }
    }

    fn entries(&self, name: &str) -> io::Result<Vec<Vec<u8>>> {
        let bytes = match disk::read_all(self.disk.as_ref(), name, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (entries, whole) = split(&bytes);
        if whole < bytes.len() {
            self.disk
                .truncate(name, u64::try_from(whole).unwrap_or(u64::MAX))?;
        }
        Ok(entries)
    }
}

fn entry(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let crc = crc32c::crc32c(bytes).to_le_bytes();
    [&length[..], &crc, bytes].concat()
}

/// The whole entries, and how many bytes they take.
fn split(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let (mut entries, mut at) = (Vec::new(), 0);
    while let Some((body, taken)) = bytes.get(at..).and_then(first) {
        entries.push(body.to_vec());
        at += taken;
    }
    (entries, at)
}

fn first(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = bytes.split_at_checked(4)?;
    let (crc, rest) = rest.split_at_checked(4)?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let body = rest.get(..length)?;
    (crc == crc32c::crc32c(body).to_le_bytes()).then_some((body, 8 + length))
}
