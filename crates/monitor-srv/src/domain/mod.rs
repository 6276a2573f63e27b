//! The rules of monitoring. Pure: no async, no SQL, no clock.

pub mod check;
pub mod dataset;
pub mod monitoring;
pub mod run;
