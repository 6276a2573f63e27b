//! The command line of `bench pool`; `cargo xtask bench pool` has the same and passes it on.

use std::path::PathBuf;

use clap::Args;

use super::arm::Arm;
use crate::arms::Workload;

/// What to measure. With nothing given: everything, five rounds, which takes more than an hour on two cores.
#[derive(Debug, Clone, Args)]
pub(crate) struct PoolOptions {
    /// Ours, raw, kq and Parallel Consumer KEY on noop (three rounds) and slow keys (one), ours and raw on paced (one), at
    /// concurrency 64.
    #[arg(long)]
    pub(crate) quick: bool,
    /// One line of JSON as the last of stdout, instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Rounds of each cell.
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    /// Only these workloads.
    #[arg(long = "only", value_enum, value_delimiter = ',')]
    pub(crate) workloads: Vec<Workload>,
    /// Only these arms.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) arms: Vec<Arm>,
    /// Only these numbers of handlers at once.
    #[arg(long, value_delimiter = ',')]
    pub(crate) concurrency: Vec<usize>,
    /// Write pool.md into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) page: Option<PathBuf>,
}
