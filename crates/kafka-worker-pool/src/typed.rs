//! Handlers of decoded values: a layer between records and a handler that knows their type. A record that cannot be decoded is rejected, so it
//! becomes a dead letter with the cause and the others go on. Knows no format: `json.rs` is one.

use std::future::Future;
use std::marker::PhantomData;

use crate::handler::{BoxError, Handler, HandlerError};
use crate::record::Record;

/// A record with its value decoded.
#[derive(Debug, Clone)]
pub struct Message<T> {
    /// What the record's value says.
    pub value: T,
    /// The record: key, headers, place.
    pub record: Record,
}

/// Reads a record as a `T`. Called on the lane for each attempt: keep it free of I/O.
///
/// A function from a record is one, and so are `Json` and `JsonOrNull`.
pub trait Decode<T>: Send + Sync + 'static {
    /// Decodes one record. An error makes it a dead letter.
    fn decode(&self, record: &Record) -> Result<T, BoxError>;
}

impl<T, E, F> Decode<T> for F
where
    F: Fn(&Record) -> Result<T, E> + Send + Sync + 'static,
    E: Into<BoxError>,
{
    fn decode(&self, record: &Record) -> Result<T, BoxError> {
        self(record).map_err(Into::into)
    }
}

/// Applies decoded records; all that [`Handler`] says holds. An async function of one [`Message`] is one: in a batch it takes them in turn.
pub trait TypedHandler<T>: Send + Sync + 'static {
    /// Applies one batch, in order.
    fn handle(&self, batch: Vec<Message<T>>) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

impl<T, F, Fut> TypedHandler<T> for F
where
    T: Send,
    F: Fn(Message<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), HandlerError>> + Send,
{
    async fn handle(&self, batch: Vec<Message<T>>) -> Result<(), HandlerError> {
        for message in batch {
            self(message).await?;
        }
        Ok(())
    }
}

/// A handler of decoded values.
///
/// ```
/// use kafka_worker_pool::{Message, OrFail, Record, decode};
///
/// // The value is a number in text; a null value counts as zero.
/// let number = |record: &Record| match &record.value {
///     None => Ok(0),
///     Some(text) => std::str::from_utf8(text).unwrap_or_default().parse::<u64>(),
/// };
/// let handler = decode(number, |message: Message<u64>| async move {
///     store(message.value).await.or_retry()
/// });
/// # async fn store(_: u64) -> std::io::Result<()> { Ok(()) }
/// ```
pub fn decode<T, D: Decode<T>, N: TypedHandler<T>>(decoder: D, handler: N) -> Typed<T, D, N> {
    Typed { decoder, handler, value: PhantomData }
}

/// What [`decode`] returns.
#[derive(Debug, Clone)]
pub struct Typed<T, D, N> {
    decoder: D,
    handler: N,
    value: PhantomData<fn() -> T>,
}

impl<T, D, N> Handler for Typed<T, D, N>
where
    T: Send + 'static,
    D: Decode<T>,
    N: TypedHandler<T>,
{
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        let decoded = |record: &Record| match self.decoder.decode(record) {
            Ok(value) => Ok(Message { value, record: record.clone() }),
            Err(cause) => Err(HandlerError::Reject { cause }),
        };
        // One that cannot be decoded fails the batch before any is applied; the pool then takes it apart.
        let messages = batch.iter().map(decoded).collect::<Result<Vec<_>, _>>()?;
        self.handler.handle(messages).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn record(value: &'static str) -> Record {
        Record { value: Some(bytes::Bytes::from_static(value.as_bytes())), ..Record::empty() }
    }

    #[derive(Default)]
    struct Sum(Mutex<Vec<Vec<u32>>>);

    impl TypedHandler<u32> for std::sync::Arc<Sum> {
        async fn handle(&self, batch: Vec<Message<u32>>) -> Result<(), HandlerError> {
            self.0.lock().unwrap().push(batch.iter().map(|message| message.value).collect());
            Ok(())
        }
    }

    fn number(record: &Record) -> Result<u32, BoxError> {
        Ok(std::str::from_utf8(record.value.as_deref().unwrap_or_default())?.parse()?)
    }

    #[tokio::test]
    async fn a_batch_is_decoded_whole_or_nothing_of_it_is_applied() {
        let sum = std::sync::Arc::new(Sum::default());
        let handler = decode(number, std::sync::Arc::clone(&sum));
        Handler::handle(&handler, &[record("1"), record("2")]).await.unwrap();
        let error = Handler::handle(&handler, &[record("3"), record("four")]).await.unwrap_err();
        assert!(matches!(&error, HandlerError::Reject { .. }), "{error}");
        assert_eq!(*sum.0.lock().unwrap(), [vec![1, 2]]);
    }
}
