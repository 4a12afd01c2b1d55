//! Bundles kept on disk for the next order, by digest. Whatever is read is checked against its name before use, so the cache may be lost,
//! torn or touched by others.

use std::io;
use std::sync::Arc;

use writ_protocol::digest::Digest;
use writ_protocol::limits::BUNDLE_BYTES_MAX;
use writ_protocol::manifest::BundleRef;

use crate::journal::disk::{self, Disk};

/// Bundles on disk, bounded.
#[derive(Clone, Debug)]
pub struct BundleCache {
    disk: Arc<dyn Disk>,
    bytes_max: u64,
}

impl BundleCache {
    /// A cache of at most `bytes_max` bytes.
    pub fn new(disk: Arc<dyn Disk>, bytes_max: u64) -> Self {
        Self { disk, bytes_max }
    }

    /// Whether calls are quick enough for an asynchronous task.
    pub fn is_memory(&self) -> bool {
        self.disk.is_memory()
    }

    /// A bundle's bytes, if they are here and are what their name says.
    pub fn get(&self, name: &BundleRef) -> Option<Vec<u8>> {
        let bytes =
            disk::read_all(self.disk.as_ref(), &name.digest.to_hex(), BUNDLE_BYTES_MAX as u64).ok()?;
        (bytes.len() as u64 == name.length && Digest::of(&bytes) == name.digest).then_some(bytes)
    }

    /// Keeps a bundle, making room for it.
    ///
    /// # Errors
    /// What the disk says; the bundle is then fetched again next time.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let name = digest.to_hex();
        let is_bundle = |name: &String| name.len() == 64;
        let mut kept: Vec<(String, u64)> = Vec::new();
        for other in self.disk.list()?.into_iter().filter(is_bundle) {
            let length = self.disk.length(&other)?;
            kept.push((other, length));
        }
        let mut total: u64 = kept.iter().map(|(_, length)| length).sum();
        while total.saturating_add(bytes.len() as u64) > self.bytes_max {
            let Some((oldest, length)) = kept.pop() else {
                return Ok(());
            };
            self.disk.remove(&oldest)?;
            total = total.saturating_sub(length);
        }
        let next = format!("{name}.next");
        self.disk.create(&next)?;
        self.disk.append(&next, bytes)?;
        self.disk.close(&next);
        self.disk.rename(&next, &name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::disk::sim::SimDisk;

    fn name(bytes: &[u8]) -> BundleRef {
        BundleRef {
            digest: Digest::of(bytes),
            length: bytes.len() as u64,
        }
    }

    #[test]
    fn bundles_come_back_unless_touched_and_the_bound_holds() {
        let disk = SimDisk::new(1);
        let cache = BundleCache::new(Arc::new(disk.clone()), 10);
        for bytes in [b"aaaa", b"bbbb", b"cccc"] {
            cache.put(&Digest::of(bytes), bytes).expect("keeps");
        }
        assert_eq!(disk.list().expect("lists").len(), 2, "the third made room");
        assert_eq!(cache.get(&name(b"cccc")), Some(b"cccc".to_vec()));
        assert!(disk.flip(&Digest::of(b"cccc").to_hex(), 0, 1));
        assert_eq!(cache.get(&name(b"cccc")), None);
        cache
            .put(&Digest::of(b"far too long"), b"far too long")
            .expect("does not keep");
        assert_eq!(cache.get(&name(b"far too long")), None);
    }
}
