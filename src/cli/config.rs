//! `seriatim config`: is the configuration in order, what is in force, and what could be set.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::settings::{Settings, in_force, key, list};
use super::{args, complain, print, serve};

/// Reads all that `seriatim serve` would read, and says whether it would serve.
pub(crate) fn check(options: &args::ServeOptions) -> ExitCode {
    match serve::check(options) {
        Ok(()) => print("the configuration is in order\n"),
        Err(error) => {
            complain(error);
            ExitCode::from(2)
        }
    }
}

/// All settings that are in force, as a file that has the same effect.
pub(crate) fn show(flags: &Command, matches: &ArgMatches, settings: &Settings) -> ExitCode {
    let mut text = String::new();
    for (flag, values, origin) in in_force(flags, matches, settings) {
        let origin = origin.map_or_else(|| "default".to_owned(), |origin| origin.to_string());
        text += &match line(flag, &values) {
            Some(line) => format!("{line} # {origin}\n"),
            None => format!("# {} is not set\n", key(flag)),
        };
    }
    print(&text)
}

/// A file of all settings, each with what it means and what is built in.
pub(crate) fn default(flags: &Command) -> ExitCode {
    let mut text = "# The settings of `seriatim serve`, as they are if nothing is said. The same are flags\n\
                    # (--line-bytes-max 4096) and variables of the environment (SERIATIM_LINE_BYTES_MAX=4096);\n\
                    # a flag comes before a variable, and a variable before this file.\n"
        .to_owned();
    for flag in list(flags) {
        text += "\n";
        for line in wrapped(&flag.get_help().map(ToString::to_string).unwrap_or_default()) {
            text += &format!("# {line}\n");
        }
        let defaults = flag.get_default_values().iter();
        let defaults: Vec<String> = defaults.map(|value| value.to_string_lossy().into_owned()).collect();
        text += &match line(flag, &defaults) {
            Some(line) => format!("#{line}\n"),
            None => format!("#{} = \n", key(flag)),
        };
    }
    print(&text)
}

/// A setting as a line of TOML; nothing if it has no value.
fn line(flag: &Arg, values: &[String]) -> Option<String> {
    let values: Vec<String> = values.iter().map(|value| literal(flag, value)).collect();
    let value = match (flag.get_action(), &values[..]) {
        (ArgAction::Append, [_, ..]) => format!("[{}]", values.join(", ")),
        (_, [value]) => value.clone(),
        _ => return None,
    };
    Some(format!("{} = {value}", key(flag)))
}

/// Numbers and truths as such, all else as text.
fn literal(flag: &Arg, value: &str) -> String {
    let is_bare = matches!(flag.get_action(), ArgAction::SetTrue) || value.parse::<u64>().is_ok();
    if is_bare { value.to_owned() } else { toml::Value::from(value).to_string() }
}

/// Lines of at most 100 characters, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 100 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
