//! The name of a lease's owner: it says which process that is, so that another one of the same machine can see that it has died. What
//! cannot be seen counts as alive.

use std::{fs, path::Path};

use uuid::Uuid;

/// A name for a relay of this process: the boot of the machine, the space in which process ids are counted, the id, and what is unique.
pub(super) fn new() -> String {
    let (boot, space) = place().unwrap_or_default();
    format!("{boot}/{space}/{}/{}", std::process::id(), Uuid::new_v4())
}

/// Whether the owner was a process of this machine that is no more.
pub(super) fn is_dead(owner: &str) -> bool {
    let parts: Vec<&str> = owner.split('/').collect();
    let ([boot, space, pid, _], Some(here)) = (parts.as_slice(), place()) else { return false };
    let is_of_here = (*boot, *space) == (here.0.as_str(), here.1.as_str());
    is_of_here && pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// Where process ids mean what they mean here; None where the system does not tell.
fn place() -> Option<(String, String)> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
    let space = fs::read_link("/proc/self/ns/pid").ok()?;
    let space = space.to_str()?.chars().filter(char::is_ascii_digit).collect();
    // Mounted with hidepid, the processes of others cannot be seen, and none of them is gone for that.
    let sees_others = Path::new("/proc/1").exists();
    (sees_others && !boot.is_empty()).then_some((boot, space))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_is_seen_to_be_gone_is_dead() {
        let own = new();
        assert!(!is_dead(&own), "this process lives: {own}");
        for unknown in ["", "another", "4711/uuid", "boot/1/4294967295/x", &own.replacen('-', "+", 1)] {
            assert!(!is_dead(unknown), "{unknown}");
        }
        if place().is_some() {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            let gone = own.replace(&format!("/{}/", std::process::id()), &format!("/{}/", child.id()));
            child.wait().unwrap();
            assert!(is_dead(&gone), "{gone}");
        }
    }
}
