//! Payments into a store with transactions, up to 64 in one: effects and positions are in the same place, so a payment is booked once, although
//! Kafka delivers it again. The store is a journal file, one line and one fsync per transaction; an SQL database would take its place.
//!
//! `cargo run -p kafka-worker-pool --example batches`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_worker_pool::{
    BoxError, Handler, HandlerError, KafkaWorkerPool, Options, OrFail, PositionStore, Record, TopicPartition,
};
use serde::{Deserialize, Serialize};
use support::AnyError;

const PAYMENTS: u64 = 5_000;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let broker = support::broker(&[("payments", 4)])?;
    let payments = (1..=PAYMENTS).map(|cents| (format!("account-{}", cents % 50), Some(cents.to_string())));
    support::send(broker.bootstrap(), "payments", payments.collect()).await?;
    let path = std::env::temp_dir().join(format!("kafka-worker-pool-batches-{}.journal", std::process::id()));

    // The first life ends in the middle. The second opens the journal, reads where it was and goes on there: its group is another one, so
    // Kafka has no position for it at all.
    for (life, group) in ["first", "second"].into_iter().enumerate() {
        let books = Books::open(&path)?;
        let before = books.lock().booked;
        let mut options = Options::default();
        options.max_batch = 64;
        options.workers = 1; // group commit: while one transaction is written, the next batch fills
        options.lanes = 1;
        options.queue_capacity = 500;
        let pool = KafkaWorkerPool::builder(broker.bootstrap(), group)
            .topics(["payments"])
            .options(options)
            .positions(books.clone())
            .handler(books.clone())
            .start()?;
        let enough = if life == 0 { PAYMENTS / 3 } else { PAYMENTS };
        support::until("enough is booked", || books.lock().booked >= enough).await?;
        let report = pool.stop().await?;
        let state = books.lock();
        println!("{group} life: {} payments in {} transactions; {report}", state.booked - before, state.transactions);
    }
    let books = Books::open(&path)?;
    std::fs::remove_file(&path)?;
    let state = books.lock();
    let sum: u64 = state.balances.values().sum();
    println!("the books: {} payments, {sum} cents on {} accounts", state.booked, state.balances.len());
    if sum != PAYMENTS * (PAYMENTS + 1) / 2 {
        return Err(format!("{sum} cents are not what was paid").into());
    }
    println!("nothing is missing, nothing is booked twice");
    Ok(())
}

/// One transaction, as the journal holds it: all of a line or nothing.
#[derive(Serialize, Deserialize)]
enum Transaction {
    /// (account, cents, partition, offset) of each payment.
    Book(Vec<(String, u64, i32, i64)>),
    /// Everything below these offsets is booked.
    Positions(Vec<(i32, i64)>),
}

/// The store. Clones share it.
#[derive(Clone)]
struct Books {
    state: Arc<Mutex<State>>,
}

struct State {
    journal: File,
    balances: HashMap<String, u64>,
    /// By partition: everything below is booked.
    positions: BTreeMap<i32, i64>,
    /// Booked above the positions: what a database would hold in an index, and clean up as positions move.
    above: HashMap<(i32, i64), ()>,
    booked: u64,
    transactions: u64,
}

impl Books {
    /// Replays the journal. A last line that is cut short was never committed.
    fn open(path: &PathBuf) -> Result<Self, AnyError> {
        let journal = OpenOptions::new().append(true).create(true).open(path)?;
        let mut state = State {
            journal,
            balances: HashMap::new(),
            positions: BTreeMap::new(),
            above: HashMap::new(),
            booked: 0,
            transactions: 0,
        };
        for line in lines(path)? {
            if let Ok(transaction) = serde_json::from_str(&line?) {
                state.apply(&transaction);
            }
        }
        state.transactions = 0;
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one transaction off the runtime's threads.
    async fn commit(
        &self,
        make: impl FnOnce(&State) -> Result<Transaction, HandlerError> + Send + 'static,
    ) -> Result<(), HandlerError> {
        let books = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut state = books.lock();
            let transaction = make(&state)?;
            let mut line = serde_json::to_vec(&transaction).or_reject()?;
            line.push(b'\n');
            // A disk that is full is no fault of the payments.
            state.journal.write_all(&line).or_unavailable()?;
            state.journal.sync_data().or_unavailable()?;
            state.apply(&transaction);
            Ok(())
        });
        written.await.or_retry()?
    }
}

fn lines(path: &Path) -> std::io::Result<std::io::Lines<BufReader<File>>> {
    Ok(BufReader::new(File::open(path)?).lines())
}

impl State {
    fn is_booked(&self, partition: i32, offset: i64) -> bool {
        self.positions.get(&partition).is_some_and(|position| offset < *position)
            || self.above.contains_key(&(partition, offset))
    }

    fn apply(&mut self, transaction: &Transaction) {
        self.transactions += 1;
        match transaction {
            Transaction::Book(payments) => {
                for (account, cents, partition, offset) in payments {
                    *self.balances.entry(account.clone()).or_default() += cents;
                    self.above.insert((*partition, *offset), ());
                    self.booked += 1;
                }
            }
            Transaction::Positions(positions) => {
                self.positions.extend(positions.iter().copied());
                let positions = &self.positions;
                self.above
                    .retain(|(partition, offset), ()| positions.get(partition).is_none_or(|below| offset >= below));
            }
        }
    }
}

impl Handler for Books {
    async fn handle(&self, batch: &[Record]) -> Result<(), HandlerError> {
        let mut payments = Vec::with_capacity(batch.len());
        for record in batch {
            let text = |bytes: &Option<bytes::Bytes>| -> Result<String, HandlerError> {
                Ok(std::str::from_utf8(bytes.as_deref().unwrap_or_default()).or_reject()?.to_owned())
            };
            let cents: u64 = text(&record.value)?.parse().or_reject()?;
            payments.push((text(&record.key)?, cents, record.partition, record.offset));
        }
        self.commit(|state| {
            payments.retain(|(_, _, partition, offset)| !state.is_booked(*partition, *offset));
            Ok(Transaction::Book(payments))
        })
        .await
    }
}

impl PositionStore for Books {
    async fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Option<i64>)>, BoxError> {
        let positions = self.lock().positions.clone();
        Ok(partitions.iter().map(|name| (name.clone(), positions.get(&name.partition).copied())).collect())
    }

    async fn save(&self, positions: &[(TopicPartition, i64)]) -> Result<(), BoxError> {
        let positions = positions.iter().map(|(name, position)| (name.partition, *position)).collect();
        Ok(self.commit(|_| Ok(Transaction::Positions(positions))).await?)
    }
}
