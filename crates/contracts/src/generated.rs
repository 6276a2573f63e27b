//! The code generated from `proto/`, one module per package and version.

/// All contracts as an encoded `google.protobuf.FileDescriptorSet`, with comments and imports: what gRPC reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! package {
    ($name:ident, $file:literal, $doc:literal) => {
        #[doc = $doc]
        pub mod $name {
            #[doc = $doc]
            #[allow(
                missing_docs,
                unreachable_pub,
                clippy::all,
                clippy::pedantic,
                reason = "generated code: the generator decides how it looks"
            )]
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/", $file));
            }
        }
    };
}

package!(project, "ctms.project.v1.rs", "Projects: the life cycle of a clinical trial.");
package!(
    epro,
    "ctms.epro.v1.rs",
    "Electronic patient-reported outcomes: schedules, assignments, notifications, responses."
);
package!(finance, "ctms.finance.v1.rs", "Fee schedules, payables and the ledger.");
package!(monitor, "ctms.monitor.v1.rs", "Monitoring plans and check runs.");
