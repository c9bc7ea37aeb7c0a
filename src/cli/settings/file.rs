//! A file of settings, in TOML: one key for each, without tables.

use std::collections::BTreeMap;
use std::mem;
use std::path::Path;

use clap::Command;
use toml::{Spanned, Value};

use super::super::written::Written;
use super::{Origin, Setting, Settings, check, key, list, nearest};

/// Reads a file and checks all that stands in it.
pub(super) fn read(path: &Path, flags: &Command) -> Result<Settings, String> {
    let mut file: Written<BTreeMap<Spanned<String>, Value>> = Written::read(path)?;
    let mut settings = Settings::new();
    // In the order of the file: the first mistake is the first that is told.
    let mut pairs: Vec<_> = mem::take(&mut file.content).into_iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    for (written, value) in pairs {
        let origin = Origin::File { path: path.to_owned(), line: file.line_at(written.span().start) };
        let written = written.into_inner();
        let Some(flag) = list(flags).find(|flag| key(flag) == written) else {
            return Err(format!("{origin}: there is no setting {written:?}{}", hint(flags, &written)));
        };
        let values = values(value).map_err(|what| format!("{origin}: {written}: {what} is no value here"))?;
        let setting = Setting { values, origin };
        check(flags, flag, &setting)?;
        settings.insert(written, setting);
    }
    Ok(settings)
}

fn hint(flags: &Command, written: &str) -> String {
    match nearest(flags, written) {
        Some(key) => format!(", did you mean {key:?}?"),
        None => ", see: seriatim config default".to_owned(),
    }
}

/// A value as it would stand behind the flag; several are several flags.
fn values(value: Value) -> Result<Vec<String>, &'static str> {
    match value {
        Value::Array(values) => values.into_iter().map(single).collect(),
        value => Ok(vec![single(value)?]),
    }
}

fn single(value: Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Datetime(_) => Err("a date"),
        Value::Array(_) => Err("a list in a list"),
        Value::Table(_) => Err("a table"),
    }
}
