//! Checks over real trial data, against the numbers that its description states. Needs the folder that CTMS_SHARED names.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::*;

/// The folder of trial data; `None`, said aloud, where it is not named.
fn folder() -> Option<PathBuf> {
    match std::env::var_os("CTMS_SHARED") {
        Some(shared) => Some(PathBuf::from(shared).join("data/sdtm")),
        None => {
            testkit::skip("CTMS_SHARED is not set");
            None
        }
    }
}

/// The CSV of a domain, unpacked by the gzip of the system.
fn csv(folder: &std::path::Path, domain: &str) -> Vec<u8> {
    let file = folder.join(format!("{domain}.csv.gz"));
    let unpacked = Command::new("gzip").arg("-dc").arg(&file).output().unwrap();
    assert!(unpacked.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&unpacked.stderr));
    unpacked.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pilot_study_is_counted_as_its_description_says_sqlite() {
    let Some(folder) = folder() else { return };
    let database = TestDatabase::sqlite();
    let mut service = Instance::idle(&database, MonitorArgs { dataset_max_bytes: 67_108_864, ..args() }).await;
    service.work();
    for (domain, rows, columns, empty) in [
        ("ae", 961, 37, vec![("AEENDTC", 472)]),
        ("cm", 7_510, 23, vec![("CMSTDTC", 21), ("CMENDTC", 6_812)]),
        ("mh", 1_817, 19, vec![("MHSTDTC", 859)]),
        ("dm", 306, 25, vec![("RFSTDTC", 52), ("RFICDTC", 306)]),
        ("qs", 121_749, 23, vec![("QSORRES", 3_203), ("USUBJID", 0)]),
        ("lb", 59_580, 24, vec![("LBSTRESN", 880)]),
    ] {
        let stored = service.upload(STUDY, domain, csv(&folder, domain)).await;
        assert_eq!((stored["rows"].as_u64(), stored["columns"].as_u64()), (Some(rows), Some(columns)), "{domain}");
        let mut checks = vec![json!({"check": "row_count", "min": rows})];
        checks.extend(empty.iter().map(|(column, _)| json!({"check": "missing", "column": column})));
        let body = json!({"study": STUDY, "dataset": domain, "checks": checks});
        let (status, asked) = service.ask(&body).await;
        assert_eq!(status, 200, "{asked}");
        let job = service.finished(&asked).await;
        let observed: Vec<_> =
            job["items"].as_array().unwrap().iter().map(|item| item["observed"].as_u64().unwrap()).collect();
        let expected: Vec<u64> = [rows].into_iter().chain(empty.iter().map(|(_, count)| *count)).collect();
        assert_eq!(observed, expected, "{domain}: {job}");
        assert_eq!(job["items"][0]["outcome"], "PASSED");
    }
}
