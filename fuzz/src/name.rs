//! The target `name`: which texts are names and which names are equal, held to tables of Unicode that are not the core's.

use std::collections::HashSet;
use std::sync::LazyLock;

use caseless::Caseless;
use regex::Regex;
use seriatim::protocol::name::{NAME_BYTES_MAX, NAME_CHARS_MAX};
use seriatim::protocol::{Name, Request, Text};
use seriatim::{ConnId, Event, Limits, Origin, State, step};
use unicode_normalization::UnicodeNormalization;

/// The longest that compatibility normalisation makes of three bytes: U+FDFA becomes 33.
const KEY_BYTES_MAX: usize = NAME_BYTES_MAX / 3 * 33 + 1;

/// Two texts, separated by a newline, or one text twice.
pub fn name(texts: &str) {
    let (one, other) = texts.split_once('\n').unwrap_or((texts, texts));
    let (parsed, other_parsed) = (Name::parse(one).ok(), Name::parse(other).ok());
    for (text, name) in [(one, &parsed), (other, &other_parsed)] {
        if is_known(text) {
            assert_eq!(name.is_some(), is_name(text), "{text:?}");
        }
        if let Some(name) = name {
            keeps_the_rules(name, text);
        }
    }
    if let Some(name) = parsed {
        let equal = other_parsed.as_ref() == Some(&name);
        if let Some(other) = other_parsed {
            compare_alike(&name, &other);
        }
        assert_eq!(is_found(&name, other), equal, "{one:?} {other:?}");
    }
}

/// What holds for each name, whatever it is.
fn keeps_the_rules(name: &Name, written: &str) {
    assert_eq!(name.as_str(), written);
    assert!(written.len() <= NAME_BYTES_MAX && written.chars().count() <= NAME_CHARS_MAX);
    assert!(name.key().len() <= KEY_BYTES_MAX, "{written:?} has a key of {} bytes", name.key().len());
    if is_known(written) {
        assert_eq!(name.key(), folded(written), "{written:?}");
        assert_eq!(name.key(), folded(name.key()), "{written:?}: folding once is not enough");
    }
    let same = |text: String| Name::parse(&text).is_ok_and(|variant| variant != *name);
    let variants = [name.key().to_owned(), written.nfc().collect(), written.nfd().collect()];
    assert!(!variants.into_iter().any(same), "{written:?} differs from itself in another form");
    assert!(is_found(name, written));
}

/// Equality, order and hash follow the key.
fn compare_alike(name: &Name, other: &Name) {
    let equal = name == other;
    assert_eq!(equal, name.key() == other.key());
    assert_eq!(equal, name.cmp(other).is_eq());
    assert_eq!(equal, HashSet::from([name]).contains(other));
    assert_eq!(name.cmp(other), other.cmp(name).reverse());
}

/// Whether a broker finds the holder of this name under what is written, and refuses to give it away.
fn is_found(name: &Name, written: &str) -> bool {
    let mut state = State::new(Limits::default(), [0, 0]);
    for (conn, login) in [(ConnId(1), name.as_str()), (ConnId(2), written)] {
        let _nothing = step(&mut state, Event::Connected(conn, Origin::Exempt));
        if let Ok(login) = Text::try_from(login) {
            let _answer = step(&mut state, Event::Requested(conn, Request::Plain(login)));
        }
    }
    let found = state.holder(written) == Some(ConnId(1));
    assert_eq!(state.name(ConnId(1)), Some(name));
    assert_eq!(state.name(ConnId(2)).is_some(), Name::parse(written).is_ok() && !found);
    found
}

/// Whether all characters stand in the tables below: those of the core may be newer.
fn is_known(text: &str) -> bool {
    static UNASSIGNED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\p{Cn}").unwrap());
    !UNASSIGNED.is_match(text)
}

/// What docs/protocol.md says about names, as two expressions.
fn is_name(text: &str) -> bool {
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^(\p{L}\p{M}*|\p{Nd}|_)(\p{L}\p{M}*|\p{Nd}|[_.-])*$").unwrap());
    static INVISIBLE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\p{Default_Ignorable_Code_Point}").unwrap());
    text.len() <= 64 && text.chars().count() <= 32 && NAME.is_match(text) && !INVISIBLE.is_match(text)
}

/// NFKD(toCasefold(NFKD(toCasefold(NFD(X))))): the Unicode Standard, section 3.13, D146.
fn folded(text: &str) -> String {
    text.nfd().default_case_fold().nfkd().default_case_fold().nfkd().collect()
}
