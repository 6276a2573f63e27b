//! Asks a broker, in its own protocol, whether it speaks the consumer group protocol of KIP-848. librdkafka knows the answer
//! but has no call that tells it. It must not choose a protocol.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a broker offers to consumer groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocolSupport {
    /// `group.protocol=consumer` (KIP-848) works here, and so does `classic`.
    Consumer,
    /// Only `group.protocol=classic` works here.
    ClassicOnly,
    /// Nobody answered in time or in plain text: a TLS listener, a broker that is down, a wrong address.
    Unknown,
}

const API_VERSIONS: i16 = 18;
pub(crate) const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
/// librdkafka speaks version 1 and later; the early access of Kafka 3.7 to 3.9 had version 0.
const HEARTBEAT_VERSION: i16 = 1;
const CLIENT_ID: &str = "group-protocol-probe";
/// A real answer has a few hundred bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Asks the brokers of `bootstrap` (`host:port,…`) one after the other until one answers, within `timeout` for all.
/// One TCP connection and one `ApiVersions` request each, which brokers answer before any authentication.
/// Cancel safe: a dropped call closes its connection.
pub async fn probe_group_protocol(bootstrap: &str, timeout: Duration) -> GroupProtocolSupport {
    let ask_all = async {
        for address in bootstrap.split(',').filter_map(plain_address) {
            match ask(address).await {
                Ok(support) => return support,
                Err(cause) => {
                    tracing::debug!(address, %cause, "broker did not tell its API versions");
                }
            }
        }
        GroupProtocolSupport::Unknown
    };
    tokio::time::timeout(timeout, ask_all).await.unwrap_or(GroupProtocolSupport::Unknown)
}

/// The address without its scheme; `None` if the scheme says TLS or there is no address.
fn plain_address(server: &str) -> Option<&str> {
    let server = server.trim();
    let address = match server.split_once("://") {
        Some((scheme, address)) if scheme.to_ascii_uppercase().ends_with("PLAINTEXT") => address,
        Some(_) => return None,
        None => server,
    };
    (!address.is_empty()).then_some(address)
}

async fn ask(address: &str) -> io::Result<GroupProtocolSupport> {
    let mut broker = TcpStream::connect(address).await?;
    broker.write_all(&request()).await?;
    let size = usize::try_from(broker.read_i32().await?).unwrap_or(usize::MAX);
    if size > MAX_ANSWER_BYTES {
        return Err(io::Error::other(format!("{address} announces {size} bytes: not a Kafka broker in plain text")));
    }
    let mut answer = vec![0; size];
    broker.read_exact(&mut answer).await?;
    support(&answer).ok_or_else(|| io::Error::other(format!("{address} sent no list of API versions")))
}

/// `ApiVersions` version 0, with a request header of version 1: every broker since 0.10 answers it.
pub(crate) fn request() -> Vec<u8> {
    let client_id_len = i16::try_from(CLIENT_ID.len()).expect("a short constant");
    let body_len = 2 + 2 + 4 + 2 + client_id_len;
    let mut bytes = i32::from(body_len).to_be_bytes().to_vec();
    bytes.extend(API_VERSIONS.to_be_bytes());
    bytes.extend(0_i16.to_be_bytes()); // version
    bytes.extend(0_i32.to_be_bytes()); // correlation id
    bytes.extend(client_id_len.to_be_bytes());
    bytes.extend(CLIENT_ID.as_bytes());
    bytes
}

/// Reads correlation id, error code, and the list of (key, lowest, highest version). `None` if it is anything else.
fn support(answer: &[u8]) -> Option<GroupProtocolSupport> {
    let (correlation_id, rest) = answer.split_first_chunk::<4>()?;
    let (error, rest) = rest.split_first_chunk::<2>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    if *correlation_id != [0; 4] || *error != [0; 2] || count == 0 || rest.len() < count.checked_mul(6)? {
        return None;
    }
    let offered = rest.chunks_exact(6).take(count).any(|api| {
        let [key, _lowest, highest] = [0, 2, 4].map(|at| i16::from_be_bytes([api[at], api[at + 1]]));
        key == CONSUMER_GROUP_HEARTBEAT && highest >= HEARTBEAT_VERSION
    });
    Some(if offered { GroupProtocolSupport::Consumer } else { GroupProtocolSupport::ClassicOnly })
}

#[cfg(test)]
mod tests {
    use super::{GroupProtocolSupport, plain_address, request, support};

    fn answer(apis: &[[i16; 3]]) -> Vec<u8> {
        let mut bytes = vec![0; 6];
        bytes.extend(i32::try_from(apis.len()).unwrap().to_be_bytes());
        bytes.extend(apis.iter().flatten().flat_map(|number| number.to_be_bytes()));
        bytes
    }

    #[test]
    fn the_request_is_what_a_broker_expects() {
        let bytes = request();
        assert_eq!(bytes[..4], u32::try_from(bytes.len() - 4).unwrap().to_be_bytes());
        assert_eq!(bytes[4..12], [0, 18, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..14], [0, 20]);
    }

    #[test]
    fn only_a_heartbeat_that_librdkafka_speaks_counts() {
        assert_eq!(support(&answer(&[[0, 0, 9], [68, 0, 1]])), Some(GroupProtocolSupport::Consumer));
        assert_eq!(support(&answer(&[[0, 0, 9], [68, 0, 0]])), Some(GroupProtocolSupport::ClassicOnly));
        assert_eq!(support(&answer(&[[0, 0, 9], [18, 0, 3]])), Some(GroupProtocolSupport::ClassicOnly));
    }

    #[test]
    fn what_is_no_list_of_versions_is_no_answer() {
        assert_eq!(support(b""), None);
        assert_eq!(support(b"HTTP/1.1 400 Bad Request\r\n"), None);
        assert_eq!(support(&answer(&[])), None);
        let mut cut = answer(&[[68, 0, 1], [0, 0, 9]]);
        cut.pop();
        assert_eq!(support(&cut), None);
        let mut refused = answer(&[[68, 0, 1]]);
        refused[5] = 35;
        assert_eq!(support(&refused), None);
    }

    #[test]
    fn tls_is_not_asked_in_plain_text() {
        assert_eq!(plain_address(" localhost:9092"), Some("localhost:9092"));
        assert_eq!(plain_address("PLAINTEXT://a:1"), Some("a:1"));
        assert_eq!(plain_address("sasl_plaintext://a:1"), Some("a:1"));
        assert_eq!(plain_address("SSL://a:1"), None);
        assert_eq!(plain_address(""), None);
    }
}
