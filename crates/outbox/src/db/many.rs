//! Many rows in one statement. On PostgreSQL its text does not depend on how many: rows travel as one array per column, so that a
//! connection parses and plans each statement once. SQLite prepares in process and takes plain VALUES. It must not know any table.

use std::fmt::Write as _;

use sea_orm::{ConnectionTrait, DbErr, Value};

use super::{
    Kind, kind_of,
    sql::{exec, instant, list, rows as values_of_rows},
};

/// The name of a column and PostgreSQL's type of it.
pub type Column = (&'static str, &'static str);

/// Rows of one statement on SQLite: far below its number of bind variables.
const SQLITE_CHUNK: usize = 200;

/// Inserts rows, in their order; `conflict` is what follows the rows (`ON CONFLICT …`), or empty. Returns how many rows were written. No rows,
/// no statement.
///
/// # Errors
/// The database's, or a value of a kind that has no text form here.
pub async fn insert<C: ConnectionTrait, const N: usize>(
    conn: &C,
    table: &str,
    columns: &[Column; N],
    rows: Vec<[Value; N]>,
    conflict: &str,
) -> Result<u64, DbErr> {
    let names = columns.map(|(name, _)| name).join(", ");
    let of_values = |count| format!("INSERT INTO {table} ({names}) VALUES {} {conflict}", values_of_rows(N, count));
    match (kind_of(conn), rows.len()) {
        (_, 0) => Ok(0),
        (Kind::Postgres, 1) => exec(conn, &of_values(1), rows.into_iter().flatten()).await,
        (Kind::Postgres, _) => {
            let arrays = (1..).zip(columns).map(|(at, (_, of))| array(at, of)).collect::<Vec<_>>().join(", ");
            // The sub-select lets a conflict clause of INSERT … SELECT be told from a join's ON.
            let sql = format!("INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) WHERE true {conflict}");
            exec(conn, &sql, transposed(rows)?).await
        }
        (Kind::Sqlite, _) => {
            let mut written = 0;
            let mut rest = rows.into_iter();
            while rest.len() > 0 {
                let count = rest.len().min(SQLITE_CHUNK);
                written += exec(conn, &of_values(count), rest.by_ref().take(count).flatten()).await?;
            }
            Ok(written)
        }
    }
}

/// What to write behind a column of PostgreSQL's type `of` to find those among `values`, with placeholders from `$first` on, and the values of
/// these placeholders. Of at least one value.
///
/// # Errors
/// A value of a kind that has no text form here.
pub fn among(kind: Kind, first: usize, of: &str, mut values: Vec<Value>) -> Result<(String, Vec<Value>), DbErr> {
    match kind {
        // The sub-select is read once; the bare expression would be read again for each row that is looked at.
        Kind::Postgres => {
            Ok((format!("= ANY ((SELECT {})::{of}[])", array(first, of)), vec![literal(&values)?.into()]))
        }
        Kind::Sqlite => {
            // The last one repeated up to a power of two: few different texts, so that the statement cache holds them all.
            if let Some(last) = values.last().cloned() {
                values.resize(values.len().next_power_of_two(), last);
            }
            Ok((format!("IN ({})", list(first, values.len())), values))
        }
    }
}

/// A query for those of these texts that `table` has in `key` in a row whose columns `fixed` hold `$1`, `$2`, …; the placeholders of the texts
/// come after. Each is looked up by itself: an index over `fixed` and `key` is used in full, however empty the table seems. Of at least one text.
///
/// # Errors
/// None on texts.
pub(crate) fn present(
    kind: Kind,
    table: &str,
    fixed: &[&str],
    key: &str,
    texts: Vec<Value>,
) -> Result<(String, Vec<Value>), DbErr> {
    let first = fixed.len() + 1;
    let conditions = (1..).zip(fixed).map(|(at, column)| format!("{column} = ${at} AND ")).collect::<String>();
    match kind {
        Kind::Postgres => {
            let wanted = array(first, "text");
            let sql = format!(
                "SELECT wanted.{key} FROM unnest({wanted}) AS wanted ({key})
                 CROSS JOIN LATERAL (SELECT 1 FROM {table} AS here WHERE {conditions}here.{key} = wanted.{key} LIMIT 1) AS found"
            );
            Ok((sql, vec![literal(&texts)?.into()]))
        }
        Kind::Sqlite => {
            let (found, values) = among(kind, first, "text", texts)?;
            Ok((format!("SELECT {key} FROM {table} WHERE {conditions}{key} {found}"), values))
        }
    }
}

/// Statements that write different tables, run together: on PostgreSQL as one statement, on SQLite, whose WITH does not write, one after
/// another. On PostgreSQL none sees what the others do.
#[derive(Debug)]
pub struct Writes {
    kind: Kind,
    statements: Vec<(String, Vec<Value>)>,
    bound: usize,
}

impl Writes {
    /// None yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, statements: Vec::new(), bound: 0 }
    }

    /// Adds one; `sql` writes its text with placeholders from the number it gets.
    pub fn add(&mut self, sql: impl FnOnce(usize) -> String, values: impl IntoIterator<Item = Value>) {
        let values: Vec<Value> = values.into_iter().collect();
        let first = match self.kind {
            Kind::Postgres => self.bound + 1,
            Kind::Sqlite => 1,
        };
        self.bound += values.len();
        self.statements.push((sql(first), values));
    }

    /// Runs them. Nothing, if there are none.
    ///
    /// # Errors
    /// The database's.
    pub async fn run<C: ConnectionTrait>(self, conn: &C) -> Result<(), DbErr> {
        match self.kind {
            Kind::Postgres => {
                if let Some((sql, values)) = self.together() {
                    exec(conn, &sql, values).await?;
                }
            }
            Kind::Sqlite => {
                for (sql, values) in self.statements {
                    exec(conn, &sql, values).await?;
                }
            }
        }
        Ok(())
    }

    fn together(mut self) -> Option<(String, Vec<Value>)> {
        let (last, last_values) = self.statements.pop()?;
        let mut sql = String::new();
        let mut values = Vec::with_capacity(self.bound);
        for (at, (one, its_values)) in self.statements.into_iter().enumerate() {
            let separator = if at == 0 { "WITH" } else { "," };
            let _ = write!(sql, "{separator} write_{at} AS ({one}) ");
            values.extend(its_values);
        }
        sql.push_str(&last);
        values.extend(last_values);
        Some((sql, values))
    }
}

fn array(at: usize, of: &str) -> String {
    format!("${at}::text::{of}[]")
}

fn transposed<const N: usize>(rows: Vec<[Value; N]>) -> Result<Vec<Value>, DbErr> {
    let mut columns: [Vec<Value>; N] = std::array::from_fn(|_| Vec::with_capacity(rows.len()));
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    columns.iter().map(|column| literal(column).map(Value::from)).collect()
}

/// PostgreSQL's text form of an array.
fn literal(values: &[Value]) -> Result<String, DbErr> {
    let mut text = String::with_capacity(values.len() * 24 + 2);
    text.push('{');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        element(&mut text, value)?;
    }
    text.push('}');
    Ok(text)
}

fn element(text: &mut String, value: &Value) -> Result<(), DbErr> {
    // Writing to a String cannot fail.
    let _ = match value {
        Value::String(Some(value)) => quoted(text, value),
        Value::BigInt(Some(value)) => write!(text, "{value}"),
        Value::Bool(Some(value)) => write!(text, "{value}"),
        Value::Uuid(Some(value)) => write!(text, "{value}"),
        Value::TimeDate(Some(value)) => write!(text, "{value}"),
        Value::TimeDateTimeWithTimeZone(Some(value)) => quoted(text, &instant(*value)),
        Value::Json(Some(value)) => quoted(text, &value.to_string()),
        Value::String(None)
        | Value::BigInt(None)
        | Value::Bool(None)
        | Value::Uuid(None)
        | Value::TimeDate(None)
        | Value::TimeDateTimeWithTimeZone(None)
        | Value::Json(None) => write!(text, "NULL"),
        other => return Err(DbErr::Type(format!("{other:?} cannot stand in an array"))),
    };
    Ok(())
}

fn quoted(text: &mut String, value: &str) -> std::fmt::Result {
    text.write_char('"')?;
    for part in value.split_inclusive(['"', '\\']) {
        match part.strip_suffix(['"', '\\']) {
            Some(before) => write!(text, "{before}\\{}", &part[before.len()..])?,
            None => text.write_str(part)?,
        }
    }
    text.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{date, datetime};

    #[test]
    fn an_array_is_written_as_postgresql_reads_it() {
        let texts: [Value; 3] = ["a,b".into(), r#"say "\" {NULL}"#.into(), Value::String(None)];
        assert_eq!(literal(&texts).unwrap(), r#"{"a,b","say \"\\\" {NULL}",NULL}"#);
        let others: [Value; 4] =
            [(-7_i64).into(), true.into(), date!(2026 - 03 - 01).into(), datetime!(2026-03-01 10:00:00.25 +1).into()];
        assert_eq!(literal(&others).unwrap(), r#"{-7,true,2026-03-01,"2026-03-01T09:00:00.250000Z"}"#);
    }

    #[test]
    fn a_value_without_a_text_form_is_refused() {
        assert!(literal(&[Value::Float(Some(0.5))]).unwrap_err().to_string().contains("array"));
    }

    #[test]
    fn writes_together_are_one_statement_whose_placeholders_count_on() {
        let mut writes = Writes::new(Kind::Postgres);
        writes.add(|first| format!("UPDATE a SET x = ${first}"), [1_i64.into()]);
        writes.add(|first| format!("INSERT INTO b VALUES ({})", list(first, 2)), [2_i64.into(), 3_i64.into()]);
        writes.add(|first| format!("INSERT INTO c VALUES (${first})"), [4_i64.into()]);
        let (sql, values) = writes.together().unwrap();
        let wanted = "WITH write_0 AS (UPDATE a SET x = $1) , write_1 AS (INSERT INTO b VALUES ($2,$3)) INSERT INTO c VALUES ($4)";
        assert_eq!((sql.as_str(), values.len()), (wanted, 4));
        assert!(Writes::new(Kind::Postgres).together().is_none());
    }

    #[test]
    fn the_text_of_a_search_depends_on_the_database_and_on_postgresql_not_on_the_number() {
        let of = |kind, count: i64| among(kind, 2, "bigint", (0..count).map(Value::from).collect()).unwrap();
        assert_eq!(
            of(Kind::Postgres, 3),
            ("= ANY ((SELECT $2::text::bigint[])::bigint[])".to_owned(), vec!["{0,1,2}".into()])
        );
        let (text, values) = of(Kind::Sqlite, 3);
        assert_eq!((text.as_str(), values.len()), ("IN ($2,$3,$4,$5)", 4));
    }
}
