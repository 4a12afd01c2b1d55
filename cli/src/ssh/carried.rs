//! The agent's program as it is carried to hosts: its bytes, their digest, and the kind of machine that they are for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;

use crate::fault::Fault;

/// Largest program that is carried, bytes: an agent with all that a debugger wants to know of it.
const PROGRAM_BYTES_MAX: u64 = 1 << 30;
/// What a program of Linux begins with.
const ELF: &[u8] = b"\x7fELF";
/// Where it says what machine it is for.
const ELF_MACHINE: std::ops::Range<usize> = 18..20;

/// A program that can be carried.
pub struct Carried {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    /// As `uname -s` and `uname -m` name it.
    pub(super) machine: &'static str,
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carried")
            .field("digest", &self.digest)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

impl Carried {
    /// Reads a program.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is no program of Linux for a machine known here.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(PROGRAM_BYTES_MAX + 1).read_to_end(&mut bytes));
        let read = read.with_context(|| format!("reading {}", path.display()))?;
        if read as u64 > PROGRAM_BYTES_MAX {
            let what = format!("{} is larger than {PROGRAM_BYTES_MAX} bytes", path.display());
            return Err(Fault::coded(Code::TooLarge, what).into());
        }
        let machine = machine(&bytes).ok_or_else(|| {
            let what = format!(
                "{} is no program of Linux for a machine known here",
                path.display()
            );
            Fault::coded(Code::OtherPlatform, what).help(
                "name an agent built for the hosts: --carry FILE (x86_64, aarch64 and riscv64 are known)",
            )
        })?;
        let digest = Digest::of(&bytes);
        Ok(Self {
            bytes,
            digest,
            machine,
        })
    }
}

fn machine(bytes: &[u8]) -> Option<&'static str> {
    let [low, high] = *bytes.strip_prefix(ELF).and(bytes.get(ELF_MACHINE))? else {
        return None;
    };
    match u16::from_le_bytes([low, high]) {
        62 => Some("Linux x86_64"),
        183 => Some("Linux aarch64"),
        243 => Some("Linux riscv64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_itself_what_machine_it_is_for() {
        let mut bytes = ELF.to_vec();
        bytes.resize(64, 0);
        assert_eq!(machine(&bytes), None);
        bytes[18] = 183;
        assert_eq!(machine(&bytes), Some("Linux aarch64"));
        assert_eq!(machine(b"#!/bin/sh\n echo it is no program"), None);
        assert_eq!(machine(ELF), None);
        let me = std::env::current_exe().unwrap();
        let carried = Carried::read(&me).unwrap();
        assert!(carried.machine.ends_with(std::env::consts::ARCH));
    }
}
