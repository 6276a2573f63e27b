//! What a durable write costs on a disk: no call can be answered faster than that.

use std::{fs::File, io::Write as _, path::Path, time::Instant};

use anyhow::Context as _;

use super::figures::Quantiles;

const WRITES: usize = 100;
const BLOCK_BYTES: usize = 4096;

/// Writes and syncs blocks of 4 KiB in `folder`, one after another.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn fsync(folder: &Path) -> anyhow::Result<Quantiles> {
    let path = folder.join("fsync.tmp");
    let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let block = [0_u8; BLOCK_BYTES];
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(Quantiles::of(times))
}
