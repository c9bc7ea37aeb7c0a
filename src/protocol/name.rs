//! [`Name`]: what a peer may be called, and which names are equal.
//!
//! A name is 1–32 characters (Unicode scalar values) in 1–64 bytes: letters with their marks (general categories L and
//! M), decimal digits (Nd) of any script, and `_`, `-`, `.`. It starts with neither `-` nor `.` (so it is never taken for
//! a flag or a hidden file), a mark stands only behind a letter or another mark, and characters that show nothing
//! (Unicode's `Default_Ignorable_Code_Point`) are refused, so that nobody can look nameless or look like somebody else.
//!
//! Two names are equal when they are a compatibility caseless match (the Unicode Standard, section 3.13, D146): full
//! case folding with compatibility normalisation around it. `Straße` equals `STRASSE`, `é` written as one character
//! equals `é` written as two, and `ﬁ` equals `fi`.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;
use core::hash::{Hash, Hasher};

use icu_casemap::CaseMapper;
use icu_normalizer::DecomposingNormalizer;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointSetData};

/// The most characters in a name.
pub const NAME_CHARS_MAX: usize = 32;
/// The most bytes in a name, as UTF-8.
pub const NAME_BYTES_MAX: usize = 64;

/// The name of a peer. It exists only if it is valid, compares by its folded form, and is shown as first written.
#[derive(Clone)]
pub struct Name {
    /// The name as written, followed by its folded form if that differs.
    both: Arc<str>,
    /// Where the name as written ends, in bytes.
    shown: u8,
}

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum NameError {
    /// There is nothing in it.
    #[error("a name has at least one character")]
    Empty,
    /// It has more than [`NAME_CHARS_MAX`] characters or [`NAME_BYTES_MAX`] bytes.
    #[error("a name has at most {NAME_CHARS_MAX} characters and {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// It starts with `.` or `-`.
    #[error("a name does not start with {0:?}")]
    Start(char),
    /// It holds a character that is no letter, digit, `_`, `-` or `.`.
    #[error("a name has letters, digits and _ - . but not {0:?}")]
    Char(char),
    /// A combining mark stands behind something other than a letter.
    #[error("in a name the mark {0:?} stands only behind a letter")]
    Mark(char),
    /// It holds a control character.
    #[error("a name has no control characters")]
    Control,
    /// The line is a message or a command, and its sender has no name yet.
    #[error("first send a line that holds only your name")]
    NotLoggedIn,
}

impl Name {
    /// Reads a name. The text is taken as it is: trim it first.
    ///
    /// # Errors
    /// [`NameError`] names the rule broken and the character that breaks it.
    pub fn parse(written: &str) -> Result<Name, NameError> {
        check(written)?;
        let shown = u8::try_from(written.len()).map_err(|_| NameError::TooLong)?;
        let key = fold(written);
        let both = if key == written { Arc::from(written) } else { Arc::from([written, &key].concat()) };
        Ok(Name { both, shown })
    }

    /// The name as first written.
    pub fn as_str(&self) -> &str {
        self.both.get(..self.shown.into()).unwrap_or_default()
    }

    /// What decides which names are equal: the folded form.
    pub fn key(&self) -> &str {
        match self.both.get(self.shown.into()..) {
            None | Some("") => &self.both,
            Some(key) => key,
        }
    }

    /// The key of the name that `written` is, or `None` if it is none.
    pub(crate) fn key_of(written: &str) -> Option<Cow<'_, str>> {
        if written.len() > NAME_BYTES_MAX {
            return None;
        }
        // Folding keeps what else makes an ASCII text valid, so a look-up in a map of valid names is the check.
        if is_folded(written) {
            return (written.len() <= NAME_CHARS_MAX).then_some(Cow::Borrowed(written));
        }
        if written.is_ascii() {
            return (written.len() <= NAME_CHARS_MAX).then(|| fold(written));
        }
        check(written).ok()?;
        Some(fold(written))
    }
}

fn check(written: &str) -> Result<(), NameError> {
    if written.len() > NAME_BYTES_MAX || written.chars().count() > NAME_CHARS_MAX {
        return Err(NameError::TooLong);
    }
    let categories = CodePointMapData::<GeneralCategory>::new();
    let invisible = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let mut behind_letter = false;
    for c in written.chars() {
        let category = categories.get(c);
        let is_letter = GeneralCategoryGroup::Letter.contains(category);
        let is_mark = GeneralCategoryGroup::Mark.contains(category);
        let is_digit = category == GeneralCategory::DecimalNumber;
        if invisible.contains(c) || !(is_letter || is_mark || is_digit || matches!(c, '_' | '-' | '.')) {
            return Err(NameError::Char(c));
        }
        if is_mark && !behind_letter {
            return Err(NameError::Mark(c));
        }
        behind_letter = is_letter || is_mark;
    }
    match written.chars().next() {
        None => Err(NameError::Empty),
        Some(c @ ('.' | '-')) => Err(NameError::Start(c)),
        Some(_) => Ok(()),
    }
}

/// Whether it surely is its own folded form, as almost every name is.
fn is_folded(written: &str) -> bool {
    written.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
}

/// NFKD(fold(NFKD(fold(NFD(written))))), as D146 defines it.
fn fold(written: &str) -> Cow<'_, str> {
    if is_folded(written) {
        return Cow::Borrowed(written);
    }
    if written.is_ascii() {
        return Cow::Owned(written.to_ascii_lowercase());
    }
    let (case, nfd, nfkd) =
        (CaseMapper::new(), DecomposingNormalizer::new_nfd(), DecomposingNormalizer::new_nfkd());
    let decomposed = nfd.normalize(written);
    let folded = case.fold_string(&decomposed);
    let once = nfkd.normalize(&folded);
    // What the first round does not change is decomposed, and the second round would be the first again.
    if *once == *written {
        return Cow::Borrowed(written);
    }
    Cow::Owned(nfkd.normalize(&case.fold_string(&once)).into_owned())
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> core::cmp::Ordering {
        self.key().cmp(other.key())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.key()
    }
}

impl core::str::FromStr for Name {
    type Err = NameError;

    fn from_str(written: &str) -> Result<Name, NameError> {
        Name::parse(written)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        Name::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use core::hash::BuildHasher;

    use super::*;

    fn equal(a: &str, b: &str) -> bool {
        Name::parse(a).unwrap() == Name::parse(b).unwrap()
    }

    #[test]
    fn what_is_a_name() {
        let longest = "é".repeat(32);
        for good in
            ["a", "Al", "_", "a-b.c_d", "7", "Zoë", "Zoe\u{308}", "अनीता", "李雷", "٣", "नि", &longest]
        {
            assert_eq!(Name::parse(good).map(|name| name.as_str() == good), Ok(true), "{good}");
        }
    }

    /// What [`Borrow`] asks for: a map of names is searched by their keys, in any spelling.
    #[test]
    fn a_name_borrows_as_its_key_and_hashes_like_it() {
        let hasher = foldhash::fast::FixedState::default();
        for written in ["Al", "Zoe\u{308}", "STRASSE"] {
            let name = Name::parse(written).unwrap();
            let key: &str = name.borrow();
            assert_eq!(key, name.key());
            assert_eq!(hasher.hash_one(&name), hasher.hash_one(key));
        }
        let hashes = ["al", "bob"].map(|written| hasher.hash_one(Name::parse(written).unwrap()));
        assert_ne!(hashes[0], hashes[1]);
    }

    #[test]
    fn what_is_not() {
        let (chars, bytes) = ("a".repeat(33), "李".repeat(22));
        for (bad, why) in [
            ("", NameError::Empty),
            (&chars[..], NameError::TooLong),
            (&bytes[..], NameError::TooLong),
            (".a", NameError::Start('.')),
            ("-a", NameError::Start('-')),
            ("a b", NameError::Char(' ')),
            ("a:b", NameError::Char(':')),
            ("/who", NameError::Char('/')),
            ("a,b", NameError::Char(',')),
            ("x²", NameError::Char('²')),
            ("\u{202e}al", NameError::Char('\u{202e}')),
            ("al\u{200d}", NameError::Char('\u{200d}')),
            ("\u{3164}", NameError::Char('\u{3164}')), // Hangul filler: a letter that shows nothing
            ("a\u{fe0f}", NameError::Char('\u{fe0f}')), // variation selector: a mark that shows nothing
            ("\u{308}a", NameError::Mark('\u{308}')),
            ("_\u{308}", NameError::Mark('\u{308}')),
        ] {
            assert_eq!(Name::parse(bad).map(|name| name.as_str().len()), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn which_names_are_equal() {
        for (a, b) in [
            ("alice", "ALICE"),
            ("straße", "STRASSE"),
            ("Zo\u{eb}", "zoe\u{308}"),
            ("ﬁona", "Fiona"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("\u{ff21}l", "al"), // fullwidth A
        ] {
            assert!(equal(a, b), "{a} = {b}");
            assert_eq!(Name::key_of(a).as_deref(), Some(Name::parse(b).unwrap().key()));
        }
        assert!(!equal("zoe", "zoë"));
        assert!(!equal("al", "a1"));
    }

    #[test]
    fn the_longest_names_are_found() {
        for name in ["é".repeat(32), "a".repeat(32)] {
            assert_eq!(Name::key_of(&name).as_deref(), Some(Name::parse(&name).unwrap().key()));
        }
        for text in ["é".repeat(33), "a".repeat(33), "李".repeat(22)] {
            assert_eq!(Name::key_of(&text), None);
        }
    }

    #[test]
    fn it_is_shown_as_written() {
        let name = Name::parse("Straße").unwrap();
        assert_eq!(alloc::format!("{name} {name:?}"), "Straße \"Straße\"");
    }

    #[test]
    fn folding_once_is_enough() {
        for name in ["İstanbul", "ﬃ", "ᾳ", "Ǆ", "ẞ", "Å", "ﾊﾝｶｸ"] {
            let key = Name::parse(name).unwrap().key().to_owned();
            assert_eq!(fold(&key), key, "{name}");
        }
    }

    use alloc::borrow::ToOwned;
}
