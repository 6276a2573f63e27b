//! Rows with a text key, locked together and written on first sight. It must not know any table.

use std::collections::BTreeSet;

use sea_orm::{DatabaseTransaction as Tx, DbErr, QueryResult, Value};

use super::{
    Kind, kind_of,
    many::{Column, among, insert},
    sql::query_all,
};

/// Which rows are locked, and what is read of them.
#[derive(Clone, Copy, Debug)]
pub struct Lockable {
    /// The table.
    pub table: &'static str,
    /// Its key, a text column.
    pub key: &'static str,
    /// The columns to read, the key among them, with commas between.
    pub columns: &'static str,
}

impl Lockable {
    /// Locks the rows of these keys until the transaction ends and returns them; writes a `row` of `columns` first where there is none, in
    /// few statements for any number. Whoever changes several does this first.
    ///
    /// # Errors
    /// The database's.
    pub async fn lock_or_insert<'a, const N: usize>(
        &self,
        tx: &Tx,
        keys: impl IntoIterator<Item = &'a str>,
        columns: &[Column; N],
        row: impl Fn(&str) -> [Value; N],
    ) -> Result<Vec<QueryResult>, DbErr> {
        let keys: BTreeSet<&str> = keys.into_iter().collect();
        let mut locked = self.lock(tx, &keys).await?;
        let known = locked.iter().map(|row| row.try_get("", self.key)).collect::<Result<BTreeSet<String>, _>>()?;
        let new: BTreeSet<&str> = keys.into_iter().filter(|key| !known.contains(*key)).collect();
        if !new.is_empty() {
            let conflict = format!("ON CONFLICT ({}) DO NOTHING", self.key);
            insert(tx, self.table, columns, new.iter().map(|key| row(key)).collect(), &conflict).await?;
            locked.append(&mut self.lock(tx, &new).await?);
        }
        Ok(locked)
    }

    /// In the order of bytes, as the gate does: a database's own order of text is another one, and the two could lock each other out.
    async fn lock(&self, tx: &Tx, keys: &BTreeSet<&str>) -> Result<Vec<QueryResult>, DbErr> {
        let Self { table, key, columns } = self;
        let kind = kind_of(tx);
        let suffix = match kind {
            Kind::Postgres => format!(" ORDER BY {key} COLLATE \"C\" FOR UPDATE"),
            Kind::Sqlite => String::new(),
        };
        let (found, values) = among(kind, 1, "text", keys.iter().map(|key| (*key).into()).collect())?;
        query_all(tx, &format!("SELECT {columns} FROM {table} WHERE {key} {found}{suffix}"), values).await
    }
}
