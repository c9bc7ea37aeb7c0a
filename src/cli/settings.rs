//! Where the settings of the server come from: the command line first, then the environment, then a file, then what is built
//! in. The flags are the only list of settings there is: a flag `--line-bytes-max` is `SERIATIM_LINE_BYTES_MAX` in the
//! environment and `line-bytes-max` in a file, and its value is read by the same parser everywhere.

mod file;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// The flag that names a file.
const FILE_FLAG: &str = "config";

/// Settings by key, and where each comes from.
pub(crate) type Settings = BTreeMap<String, Setting>;

/// What one setting is set to.
pub(crate) struct Setting {
    pub(crate) values: Vec<String>,
    pub(crate) origin: Origin,
}

/// Where a setting comes from.
#[derive(Clone)]
pub(crate) enum Origin {
    CommandLine,
    Environment(String),
    File { path: PathBuf, line: usize },
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::CommandLine => f.write_str("command line"),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// What the environment and the file that is named say about the settings in `flags`, each value checked.
///
/// # Errors
/// The first that makes no sense: where it stands, and what is wrong with it.
pub(crate) fn gather(flags: &Command, matches: &ArgMatches) -> Result<Settings, String> {
    let mut settings = match file_named(matches) {
        Some(path) => file::read(&path, flags)?,
        None => Settings::new(),
    };
    for flag in list(flags) {
        let (key, variable) = (key(flag), variable(flag));
        if let Some(value) = std::env::var_os(&variable) {
            let value = value.into_string().map_err(|_| format!("{variable} is not UTF-8"))?;
            let values = match flag.get_action() {
                ArgAction::Append => value.split(',').map(|value| value.trim().to_owned()).collect(),
                _ => vec![value],
            };
            let setting = Setting { values, origin: Origin::Environment(variable) };
            check(flags, flag, &setting)?;
            settings.insert(key.to_owned(), setting);
        }
    }
    Ok(settings)
}

/// The file that the command line or else the environment names.
fn file_named(matches: &ArgMatches) -> Option<PathBuf> {
    let named: Option<&PathBuf> = matches.get_one(FILE_FLAG);
    let variable = || std::env::var_os("SERIATIM_CONFIG").filter(|path| !path.is_empty());
    named.cloned().or_else(|| variable().map(PathBuf::from))
}

/// The same flags, with these settings where nothing is said on the command line.
pub(crate) fn with_defaults(flags: Command, settings: &Settings) -> Command {
    flags.mut_args(|flag| match flag.get_long().and_then(|key| settings.get(key)) {
        Some(setting) => flag.default_values(setting.values.clone()),
        None => flag,
    })
}

/// All settings that are in force, what is built in among them (without an origin), by key.
pub(crate) fn in_force<'a>(
    flags: &'a Command,
    matches: &'a ArgMatches,
    settings: &'a Settings,
) -> impl Iterator<Item = (&'a Arg, Vec<String>, Option<Origin>)> {
    list(flags).map(|flag| {
        let id = flag.get_id().as_str();
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Some(Origin::CommandLine),
            _ => settings.get(key(flag)).map(|setting| setting.origin.clone()),
        };
        let raw = matches.get_raw(id).into_iter().flatten();
        (flag, raw.map(|value| value.to_string_lossy().into_owned()).collect(), origin)
    })
}

/// The flags that are settings.
pub(crate) fn list(flags: &Command) -> impl Iterator<Item = &Arg> {
    flags.get_arguments().filter(|flag| {
        flag.get_long().is_some_and(|key| key != FILE_FLAG)
            && matches!(flag.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue)
    })
}

pub(crate) fn key(flag: &Arg) -> &str {
    flag.get_long().unwrap_or_default()
}

/// What a setting is called in the environment.
fn variable(flag: &Arg) -> String {
    format!("SERIATIM_{}", key(flag).to_uppercase().replace('-', "_"))
}

/// Whether the flag's own parser takes these values.
fn check(flags: &Command, flag: &Arg, setting: &Setting) -> Result<(), String> {
    let Setting { values, origin } = setting;
    let key = key(flag);
    if values.len() != 1 && !matches!(flag.get_action(), ArgAction::Append) {
        return Err(format!("{origin}: {key}: one value is expected, not {}", values.len()));
    }
    for value in values {
        if let Err(why) = check_value(flags, flag, value) {
            return Err(format!("{origin}: {key}: {value:?}: {why}"));
        }
    }
    Ok(())
}

fn check_value(flags: &Command, flag: &Arg, value: &str) -> Result<(), String> {
    if matches!(flag.get_action(), ArgAction::SetTrue) {
        let is_truth = matches!(value, "true" | "false");
        return if is_truth { Ok(()) } else { Err("expected true or false".to_owned()) };
    }
    let argument = OsString::from(format!("--{}={value}", key(flag)));
    let parsed = flags.clone().try_get_matches_from([OsString::from("seriatim"), argument]);
    parsed.map(drop).map_err(|error| reason(&super::args::one_line(&error.to_string())))
}

/// What clap has to say about a value, without the value and the flag.
fn reason(message: &str) -> String {
    let behind = message.split_once(">'").map_or(message, |(_, behind)| behind);
    behind.trim_start_matches([':', ' ']).to_owned()
}

/// The key that was probably meant.
fn nearest<'a>(flags: &'a Command, key: &str) -> Option<&'a str> {
    let near = |candidate: &&str| strsim::damerau_levenshtein(candidate, key);
    let nearest = list(flags).map(self::key).min_by_key(near)?;
    (near(&nearest) <= key.len().max(3) / 2).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Command {
        Command::new("serve")
            .arg(Arg::new("line_bytes_max").long("line-bytes-max").value_parser(clap::value_parser!(u32)))
            .arg(Arg::new("listen").long("listen").action(ArgAction::Append))
            .arg(Arg::new("self_signed").long("self-signed").action(ArgAction::SetTrue))
            .arg(Arg::new("config").long("config"))
    }

    fn checked(key: &str, values: &[&str]) -> Result<(), String> {
        let flags = flags();
        let flag = list(&flags).find(|flag| self::key(flag) == key).unwrap();
        let values = values.iter().map(|&value| value.to_owned()).collect();
        check(&flags, flag, &Setting { values, origin: Origin::Environment("HERE".to_owned()) })
    }

    #[test]
    fn a_value_is_read_as_its_flag_is() {
        assert_eq!(checked("line-bytes-max", &["17"]), Ok(()));
        assert_eq!(
            checked("line-bytes-max", &["x"]).unwrap_err(),
            "HERE: line-bytes-max: \"x\": invalid digit found in string"
        );
        assert!(checked("line-bytes-max", &["1", "2"]).unwrap_err().contains("one value"));
        assert!(checked("line-bytes-max", &[]).unwrap_err().contains("one value"));
        assert_eq!(checked("listen", &["a", "-b"]), Ok(()));
        assert_eq!(checked("self-signed", &["true"]), Ok(()));
        assert!(checked("self-signed", &["yes"]).unwrap_err().ends_with("expected true or false"));
    }

    #[test]
    fn a_key_that_is_nearly_right_is_guessed() {
        let flags = flags();
        assert_eq!(nearest(&flags, "line-byte-max"), Some("line-bytes-max"));
        assert_eq!(nearest(&flags, "lisen"), Some("listen"));
        assert_eq!(nearest(&flags, "colour"), None);
        assert_eq!(list(&flags).count(), 3, "the file itself is no setting");
        assert_eq!(variable(list(&flags).next().unwrap()), "SERIATIM_LINE_BYTES_MAX");
    }

    #[test]
    fn the_command_line_comes_first() {
        let setting = |value: &str| Setting { values: vec![value.to_owned()], origin: Origin::CommandLine };
        let settings = Settings::from([
            ("line-bytes-max".to_owned(), setting("17")),
            ("self-signed".to_owned(), setting("true")),
        ]);
        let flags = with_defaults(flags(), &settings);
        let matches = |arguments: &[&str]| flags.clone().get_matches_from([&["serve"], arguments].concat());
        assert_eq!(matches(&[]).get_one::<u32>("line_bytes_max"), Some(&17));
        assert!(matches(&[]).get_flag("self_signed"));
        assert_eq!(matches(&["--line-bytes-max=18"]).get_one::<u32>("line_bytes_max"), Some(&18));
    }
}
