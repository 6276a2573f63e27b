//! TCP ports for servers that must know theirs before they start.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Larger than any row of ports, so that rows do not overlap.
const STEP: u16 = 7;

/// A port on 127.0.0.1 that nobody listens on now.
///
/// It lies below the range from which the system takes ports for outgoing connections, so that nobody takes it while
/// a server that owns it is down for a test.
///
/// # Panics
/// When no port of the range is free.
#[must_use]
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` ports in a row, each as [`free_port`] gives it.
///
/// # Panics
/// When no such ports are free.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("a remainder below 12,000 fits");
    for _ in 0..COUNT {
        // Test executables run side by side: each begins elsewhere, a prime step apart.
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(STEP);
        let first = FIRST + start.wrapping_add(step) % COUNT;
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no {count} free ports between {FIRST} and {}", FIRST + COUNT);
}
