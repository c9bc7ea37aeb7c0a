//! A file of accounts: names, and what proves a password without telling it (argon2id, with the parameters that OWASP gives
//! as a minimum: 19 MiB, 2 passes).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Argon2, Block, Params};
use serde::{Deserialize, Serialize};
use seriatim::protocol::{Name, Password};
use seriatim::server::operator::Operator;
use seriatim::server::passwords::Passwords;
use tempfile::NamedTempFile;
use toml::Spanned;
use tracing::warn;

use super::reload::Reloadable;
use super::written::Written;

/// The longest password, in bytes.
pub(super) const PASSWORD_BYTES_MAX: usize = 512;

/// Accounts, by the folded form of their names.
#[derive(Default)]
pub(super) struct Accounts(BTreeMap<String, (Name, String)>);

/// The file as it stands.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsFile {
    #[serde(default)]
    account: Vec<Spanned<Account>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Account {
    name: String,
    /// In the format of the Password Hashing Competition.
    password: String,
}

impl Accounts {
    /// Reads a file.
    ///
    /// # Errors
    /// The file, the line and what is wrong there.
    pub(super) fn read(path: &Path) -> Result<Accounts, String> {
        let mut file: Written<AccountsFile> = Written::read(path)?;
        let mut accounts = Accounts::default();
        for account in mem::take(&mut file.content.account) {
            let start = account.span().start;
            let wrong = |error| format!("{}:{}: {error}", path.display(), file.line_at(start));
            accounts.insert(account.into_inner()).map_err(wrong)?;
        }
        Ok(accounts)
    }

    fn insert(&mut self, Account { name: written, password }: Account) -> Result<(), String> {
        let name = Name::parse(&written).map_err(|error| format!("{written:?} is no name: {error}"))?;
        let see = format!("see: seriatim account passwd {written}");
        match PasswordHash::new(&password) {
            Ok(hash) if hash.algorithm.starts_with("argon2") && Recipe::of(&hash).is_some() => {}
            Ok(hash) if hash.algorithm.starts_with("argon2") => {
                return Err(format!("no password can match the hash of {written}, {see}"));
            }
            Ok(_) | Err(_) => return Err(format!("the password of {written} is not hashed, {see}")),
        }
        match self.0.insert(name.key().to_owned(), (name, password)) {
            Some((other, _)) => Err(format!("{written} has an account already, as {other}")),
            None => Ok(()),
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.values().map(|(name, _)| name)
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.0.contains_key(name.key())
    }

    /// Gives the name this password, and an account if it has none.
    pub(super) fn set(&mut self, name: &Name, password: &Password) -> Result<(), String> {
        let hash = Argon2::default().hash_password(password.as_str().as_bytes());
        let hash = hash.map_err(|error| format!("cannot hash the password: {error}"))?.to_string();
        self.0.insert(name.key().to_owned(), (name.clone(), hash));
        Ok(())
    }

    /// Takes the name its account, and says whether it had one.
    pub(super) fn remove(&mut self, name: &Name) -> bool {
        self.0.remove(name.key()).is_some()
    }

    fn verify(&self, name: &Name, password: &Password, memory: &Memory) -> bool {
        let Some((_, hash)) = self.0.get(name.key()) else { return false };
        let Ok(hash) = PasswordHash::new(hash) else { return false };
        Recipe::of(&hash).is_some_and(|recipe| recipe.is_of(password, memory))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let directory = directory_of(path);
        let mut file = NamedTempFile::new_in(directory)?;
        writeln!(file, "# Written by `seriatim account`; a server reads it again on SIGHUP.")?;
        for (name, hash) in self.0.values() {
            let account = Account { name: name.to_string(), password: hash.clone() };
            let account = toml::to_string(&account).map_err(io::Error::other)?;
            write!(file, "\n[[account]]\n{account}")?;
        }
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(directory)?.sync_all()
    }
}

/// All that a hash says of how it was made, and what came out.
struct Recipe<'a> {
    argon2: Argon2<'static>,
    salt: &'a [u8],
    output: &'a Output,
}

impl Recipe<'_> {
    /// `None` if the hash lacks something, or asks for what argon2 does not do: nothing can match it.
    fn of(hash: &PasswordHash) -> Option<Recipe<'_>> {
        let algorithm = hash.algorithm.as_str().try_into().ok()?;
        let version = hash.version.map(TryInto::try_into).transpose().ok()?.unwrap_or_default();
        let argon2 = Argon2::new(algorithm, version, Params::try_from(hash).ok()?);
        Some(Recipe { argon2, salt: hash.salt.as_ref()?, output: hash.hash.as_ref()? })
    }

    /// Whether this password gives that output. The comparison takes as long wherever they differ.
    fn is_of(&self, password: &Password, memory: &Memory) -> bool {
        let mut output = [0; Output::MAX_LENGTH];
        let Some(output) = output.get_mut(..self.output.len()) else { return false };
        let mut blocks = memory.take();
        blocks.resize(self.argon2.params().block_count(), Block::default());
        let password = password.as_str().as_bytes();
        let hashed = self.argon2.hash_password_into_with_memory(password, self.salt, output, &mut blocks);
        memory.keep(blocks);
        hashed.is_ok() && Output::new(output).is_ok_and(|output| output == *self.output)
    }
}

/// Memory for argon2, used again for the next password: what is given back on one thread and asked for on another stays with the
/// process each time.
#[derive(Default)]
struct Memory(Mutex<Vec<Vec<Block>>>);

impl Memory {
    fn take(&self) -> Vec<Block> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn keep(&self, blocks: Vec<Block>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(blocks);
    }
}

/// Reads the file, changes what stands in it and writes it anew, in one piece: whoever reads it sees the old or the new, and
/// of two who change it at once, one waits.
///
/// # Errors
/// The file cannot be read or written, or `change` says why not.
pub(super) fn rewrite(
    path: &Path,
    change: impl FnOnce(&mut Accounts) -> Result<(), String>,
) -> Result<(), String> {
    let cannot = |error| format!("cannot write {}: {error}", path.display());
    let directory = File::open(directory_of(path)).map_err(cannot)?;
    directory.lock().map_err(cannot)?; // until it is closed
    let mut accounts = if path.exists() { Accounts::read(path)? } else { Accounts::default() };
    change(&mut accounts)?;
    accounts.write(path).map_err(cannot)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The accounts of a server, which can be read again while it serves.
pub(crate) struct LiveAccounts {
    path: PathBuf,
    accounts: RwLock<Arc<Accounts>>,
    memory: Memory,
}

impl LiveAccounts {
    pub(super) fn read(path: &Path) -> Result<LiveAccounts, String> {
        let accounts = RwLock::new(Arc::new(Accounts::read(path)?));
        Ok(LiveAccounts { path: path.to_owned(), accounts, memory: Memory::default() })
    }

    /// Warns if others than the owner may read the file.
    pub(crate) fn warn_if_open(&self) {
        if fs::metadata(&self.path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
            let path = self.path.display();
            warn!("others may read {path} and guess at its passwords undisturbed: chmod 600 {path}");
        }
    }

    /// Reads the file again. If it is not in order, all stays as it was.
    pub(super) fn reload(&self) -> Result<(), String> {
        let accounts = Arc::new(Accounts::read(&self.path)?);
        *self.accounts.write().unwrap_or_else(PoisonError::into_inner) = accounts;
        Ok(())
    }

    /// It as something that can be read again.
    pub(super) fn reloadable(self: Arc<Self>, operator: Operator) -> Reloadable {
        Reloadable {
            what: format!("the accounts {}", self.path.display()),
            reload: Box::new(move || {
                self.reload()?;
                operator.change_accounts(self.names());
                Ok(())
            }),
        }
    }

    /// The names that have accounts now.
    pub(super) fn names(&self) -> Vec<Name> {
        self.now().names().cloned().collect()
    }

    fn now(&self) -> Arc<Accounts> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Passwords for LiveAccounts {
    fn verify(&self, name: &Name, password: &Password) -> bool {
        self.now().verify(name, password, &self.memory)
    }
}
