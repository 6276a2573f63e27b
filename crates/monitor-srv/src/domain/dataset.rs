//! Datasets as CSV text (RFC 4180, UTF-8, one header line): whether a text is one, and counting in it. Pure.
//!
//! An empty line is no row: in a file of one column, write an empty value as `""`.

use std::collections::HashMap;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

/// Most columns of a dataset.
pub const MAX_COLUMNS: usize = 10_000;

/// What a dataset holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Rows without the header line.
    pub rows: u64,
    /// Names of the columns.
    pub header: Vec<String>,
}

/// Why a text is no dataset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Fault {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

impl Fault {
    fn new(line: u64, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// Rows, and those of them without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingCount {
    /// All rows.
    pub rows: u64,
    /// Rows without a value in the column.
    pub missing: u64,
}

/// Reads a whole text and says what it holds.
///
/// # Errors
/// The first line that is not as it must be.
pub fn inspect(csv: &[u8]) -> Result<Shape, Fault> {
    utf8(csv)?;
    let mut reader = reader(csv);
    let header = header(&mut reader)?;
    let mut shape = Shape { rows: 0, header };
    let mut last_line = 1;
    each_row(&mut reader, |row| {
        shape.rows += 1;
        last_line = line(row);
    })?;
    // Every quote of RFC 4180 has a second one: around a field, or doubled within. The reader itself takes the end of the text for the end
    // of a quoted field, and so would swallow the rows behind an open quote.
    let is_quote_open = csv.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
    if is_quote_open {
        return Err(Fault::new(last_line, "a quote is opened here or before and never closed"));
    }
    Ok(shape)
}

/// Rows of a text without the header line.
///
/// # Errors
/// The first line that cannot be read.
pub fn count_rows(csv: &[u8]) -> Result<u64, Fault> {
    let mut reader = reader(csv);
    let mut rows = 0;
    each_row(&mut reader, |_| rows += 1)?;
    Ok(rows)
}

/// Rows without a value in `column`; the names of the columns where it is none of them. A field of blanks has no value.
///
/// # Errors
/// The first line that cannot be read.
pub fn count_missing(csv: &[u8], column: &str) -> Result<Result<MissingCount, Vec<String>>, Fault> {
    let mut reader = reader(csv);
    let header = header(&mut reader)?;
    let Some(index) = header.iter().position(|name| name == column) else { return Ok(Err(header)) };
    let mut count = MissingCount { rows: 0, missing: 0 };
    each_row(&mut reader, |row| {
        count.rows += 1;
        count.missing += u64::from(row.get(index).is_none_or(|field| field.trim_ascii().is_empty()));
    })?;
    Ok(Ok(count))
}

fn reader(csv: &[u8]) -> Reader<&[u8]> {
    ReaderBuilder::new().from_reader(csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv))
}

fn header(reader: &mut Reader<&[u8]>) -> Result<Vec<String>, Fault> {
    let names = reader.headers().map_err(|error| fault(&error))?;
    if names.is_empty() {
        return Err(Fault::new(1, "there is no header line; begin with the names of the columns"));
    }
    if names.len() > MAX_COLUMNS {
        return Err(Fault::new(1, format!("{} columns; a dataset has at most {MAX_COLUMNS}", names.len())));
    }
    let mut seen = HashMap::new();
    for (position, name) in (1_u64..).zip(names) {
        // Columns without a name cannot be checked, and do not get in the way: R writes its row names under none.
        if !name.is_empty()
            && let Some(first) = seen.insert(name, position)
        {
            return Err(Fault::new(1, format!("columns {first} and {position} are both called '{name}'")));
        }
    }
    Ok(names.iter().map(str::to_owned).collect())
}

fn each_row(reader: &mut Reader<&[u8]>, mut visit: impl FnMut(&ByteRecord)) -> Result<(), Fault> {
    let mut row = ByteRecord::new();
    while reader.read_byte_record(&mut row).map_err(|error| fault(&error))? {
        visit(&row);
    }
    Ok(())
}

fn line(row: &ByteRecord) -> u64 {
    row.position().map_or(1, csv::Position::line)
}

fn fault(error: &csv::Error) -> Fault {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            Fault::new(line, format!("{len} fields where the header line has {expected_len}"))
        }
        ErrorKind::Utf8 { .. } => Fault::new(line, "not UTF-8; convert the file"),
        _ => Fault::new(line, error.to_string()),
    }
}

fn utf8(csv: &[u8]) -> Result<(), Fault> {
    let Err(error) = std::str::from_utf8(csv) else { return Ok(()) };
    let lines_before = csv[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() as u64;
    Err(Fault::new(lines_before + 1, "not UTF-8; convert the file"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_dataset_tells_its_rows_and_columns() {
        let shape = inspect(b"\xef\xbb\xbfID,\"A, B\"\r\n1,\"two\nlines \"\"quoted\"\"\"\r\n2,\r\n\r\n").unwrap();
        assert_eq!(shape, Shape { rows: 2, header: vec!["ID".into(), "A, B".into()] });
        assert_eq!(inspect(b"ID\n").unwrap().rows, 0, "a header alone is a dataset");
    }

    #[test]
    fn what_is_no_dataset_is_refused_with_its_line() {
        for (text, line, words) in [
            (&b""[..], 1, "no header line"),
            (b"A,B\n1,2\n3\n", 3, "1 fields where the header line has 2"),
            (b"A,B\n1,2\n1,2,3\n", 3, "3 fields where the header line has 2"),
            (b"A,B,A\n", 1, "columns 1 and 3 are both called 'A'"),
            (b"A,B\n1,\xff\n", 2, "not UTF-8"),
            (b"A\n1\n\"2\n3\n", 3, "never closed"),
        ] {
            let fault = inspect(text).unwrap_err();
            assert_eq!(fault.line, line, "{fault}");
            assert!(fault.what.contains(words), "{fault}");
        }
    }

    #[test]
    fn columns_without_a_name_are_let_in() {
        assert_eq!(inspect(b",,X\n1,2,3\n").unwrap().header, ["", "", "X"]);
        assert_eq!(count_missing(b",,X\n1,2,3\n", "X").unwrap(), Ok(MissingCount { rows: 1, missing: 0 }));
    }

    proptest! {
        /// What a correct writer writes is taken, and counted as it was written.
        #[test]
        fn whatever_is_written_is_counted(rows in proptest::collection::vec(("[^\0]{0,8}", "[^\0]{0,8}"), 0..40)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["FIRST", "SECOND"]).unwrap();
            for (first, second) in &rows {
                writer.write_record([first, second]).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let shape = inspect(&text).unwrap();
            prop_assert_eq!(shape.rows, rows.len() as u64);
            prop_assert_eq!(count_rows(&text).unwrap(), rows.len() as u64);
            let blank = rows.iter().filter(|(_, second)| second.bytes().all(|byte| byte.is_ascii_whitespace())).count();
            let counted = count_missing(&text, "SECOND").unwrap().unwrap();
            prop_assert_eq!(counted, MissingCount { rows: rows.len() as u64, missing: blank as u64 });
        }
    }
}
