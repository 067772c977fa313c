//! Key files: one directory per process, mode 0700, files of mode 0600, each written whole or not at all.
//!
//! | file | content | who has it |
//! |---|---|---|
//! | `root.key` | the root secret | producers (never the phrase) |
//! | `owner.key` | the seed of an owner key of its own | consumers and trackers started without a phrase |
//! | `peer.key` | the seed of the peer key | every process |
//! | `peer.cert` | the certificate of the peer key | every process |
//!
//! A file is two lines: `openbucket <what> 1`, where 1 is the version of the format, and the bytes in hex.

use std::{io, path::PathBuf};

use zeroize::Zeroizing;

use super::{Certificate, Error, OwnerKey, PeerKey, Role, RootSecret};
use crate::{
    base::{OwnerId, UnixMillis, limits},
    runtime::{PrivateFileError, make_directory, read_private, write_private},
};

const ROOT: (&str, &str) = ("root.key", "root secret");
const OWNER: (&str, &str) = ("owner.key", "owner key");
const PEER: (&str, &str) = ("peer.key", "peer key");
const CERTIFICATE: (&str, &str) = ("peer.cert", "certificate");

/// The key files of one process. The caller holds the lock of the state directory.
#[derive(Clone, Debug)]
pub struct KeyStore {
    directory: PathBuf,
}

/// Fresh random bytes for the keys that a directory lacks.
pub struct Fresh {
    pub peer: Zeroizing<[u8; 32]>,
    pub owner: Zeroizing<[u8; 32]>,
}

/// Who a process is in the network.
pub struct Identity {
    pub peer_key: PeerKey,
    pub certificate: Certificate,
}

impl KeyStore {
    /// The key files in this directory, which is made with mode 0700 when missing.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = directory.into();
        let made = make_directory(&directory);
        made.map_err(|why| Error::Disk { what: "cannot make the key directory", path: directory.clone(), why })?;
        Ok(Self { directory })
    }

    /// The root secret, if this directory is a producer's.
    pub fn root(&self) -> Result<Option<RootSecret>, Error> {
        Ok(self.secret(ROOT)?.map(|bytes| RootSecret::from_bytes(*bytes)))
    }

    /// Keeps the root secret. The same one again is fine; another one is refused with [`Error::Exists`].
    pub fn put_root(&self, root: &RootSecret) -> Result<(), Error> {
        match self.root()? {
            Some(held) if held.as_bytes() == root.as_bytes() => Ok(()),
            Some(_) => Err(Error::Exists { path: self.directory.join(ROOT.0) }),
            None => self.create(ROOT, root.as_bytes()),
        }
    }

    /// Whose keys these are; None before there are any.
    pub fn known_owner(&self) -> Result<Option<OwnerId>, Error> {
        if let Some(root) = self.root()? {
            return Ok(Some(root.owner_key().id()));
        }
        Ok(self.secret(OWNER)?.map(|seed| OwnerKey::from_seed(&seed).id()))
    }

    /// The peer key and a certificate for this role; what is missing is made and kept.
    ///
    /// The owner is the root secret's when there is one. Without one a producer is refused with
    /// [`Error::NoRoot`], and a consumer or tracker gets an owner key of its own.
    pub fn identity(&self, role: Role, fresh: Fresh, now: UnixMillis) -> Result<Identity, Error> {
        let owner = self.owner(role, &fresh)?;
        let peer_key = match self.secret(PEER)? {
            Some(seed) => PeerKey::from_seed(*seed),
            None => {
                self.create(PEER, fresh.peer.as_slice())?;
                PeerKey::from_seed(*fresh.peer)
            }
        };
        let peer = peer_key.peer_id();
        if let Some(certificate) = self.certificate()?
            && (certificate.owner, certificate.peer, certificate.role) == (owner.id(), peer, role)
            && certificate.verify().is_ok()
        {
            return Ok(Identity { peer_key, certificate });
        }
        let certificate = owner.certify(peer, role, now);
        let bytes = postcard::to_stdvec(&certificate).expect("a certificate serialises");
        self.write(CERTIFICATE, &bytes, true)?;
        Ok(Identity { peer_key, certificate })
    }

    fn owner(&self, role: Role, fresh: &Fresh) -> Result<OwnerKey, Error> {
        if let Some(root) = self.root()? {
            return Ok(root.owner_key());
        }
        if role == Role::Producer {
            return Err(Error::NoRoot { path: self.directory.clone() });
        }
        if let Some(seed) = self.secret(OWNER)? {
            return Ok(OwnerKey::from_seed(&seed));
        }
        self.create(OWNER, fresh.owner.as_slice())?;
        Ok(OwnerKey::from_seed(&fresh.owner))
    }

    fn certificate(&self) -> Result<Option<Certificate>, Error> {
        let Some(bytes) = self.read(CERTIFICATE)? else { return Ok(None) };
        match postcard::from_bytes(&bytes) {
            Ok(certificate) => Ok(Some(certificate)),
            Err(_) => Err(self.damaged(CERTIFICATE, "the certificate does not decode")),
        }
    }

    fn secret(&self, file: (&str, &'static str)) -> Result<Option<Zeroizing<[u8; 32]>>, Error> {
        let Some(bytes) = self.read(file)? else { return Ok(None) };
        match bytes.as_slice().try_into() {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(_) => Err(self.damaged(file, "the secret has not 32 bytes")),
        }
    }

    fn damaged(&self, (name, what): (&str, &'static str), why: &'static str) -> Error {
        Error::Damaged { path: self.directory.join(name), what, why }
    }

    /// The bytes of a file; None when there is none. Refuses a file that others may read.
    fn read(&self, file: (&str, &'static str)) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let path = self.directory.join(file.0);
        match read_private(&path, limits::KEY_FILE_BYTES) {
            Ok(None) => Ok(None),
            Ok(Some(text)) => self.parse(file, &text).map(Some),
            Err(PrivateFileError::Disk(why)) => Err(Error::Disk { what: "cannot read the key file", path, why }),
            Err(PrivateFileError::Mode(mode)) => Err(Error::Mode { path, mode }),
            Err(PrivateFileError::TooLong) => Err(self.damaged(file, "it is too long")),
        }
    }

    fn parse(&self, file: (&str, &'static str), text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let text = std::str::from_utf8(text).map_err(|_| self.damaged(file, "it is not text"))?;
        let mut lines = text.lines();
        let head = lines.next().and_then(|line| line.strip_prefix("openbucket ")?.strip_prefix(file.1));
        let version = head.and_then(|rest| rest.trim().parse::<u32>().ok());
        match version {
            Some(1) => {}
            Some(found) if found > 1 => return Err(Error::Newer { path: self.directory.join(file.0), found }),
            _ => return Err(self.damaged(file, "its first line does not say so")),
        }
        let (Some(body), None) = (lines.next(), lines.next()) else {
            return Err(self.damaged(file, "it does not have two lines"));
        };
        let bytes = hex::decode(body).map_err(|_| self.damaged(file, "its second line is not hexadecimal"))?;
        Ok(Zeroizing::new(bytes))
    }

    fn create(&self, file: (&str, &'static str), bytes: &[u8]) -> Result<(), Error> {
        self.write(file, bytes, false)
    }

    fn write(&self, file: (&str, &'static str), bytes: &[u8], may_replace: bool) -> Result<(), Error> {
        let path = self.directory.join(file.0);
        let head = format!("openbucket {} 1\n", file.1);
        let mut text = Zeroizing::new(vec![0; head.len() + 2 * bytes.len() + 1]);
        text[..head.len()].copy_from_slice(head.as_bytes());
        let end = text.len() - 1;
        hex::encode_to_slice(bytes, &mut text[head.len()..end]).expect("two digits for each byte");
        text[end] = b'\n';
        match write_private(&path, &text, may_replace) {
            Ok(()) => Ok(()),
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists { path }),
            Err(why) => Err(Error::Disk { what: "cannot write the key file", path, why }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
        path::Path,
    };

    use super::*;
    use crate::keys::Phrase;

    fn fresh(byte: u8) -> Fresh {
        Fresh { peer: Zeroizing::new([byte; 32]), owner: Zeroizing::new([byte + 1; 32]) }
    }

    fn store() -> (tempfile::TempDir, KeyStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = KeyStore::open(directory.path().join("keys")).unwrap();
        (directory, store)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let (_directory, store) = store();
        let first = store.identity(Role::Consumer, fresh(1), UnixMillis(5)).unwrap();
        let again = store.identity(Role::Consumer, fresh(7), UnixMillis(6)).unwrap();
        assert_eq!(first.certificate, again.certificate);
        assert_eq!(first.peer_key.peer_id(), again.peer_key.peer_id());
        assert!(first.certificate.verify().is_ok());
        assert_eq!(mode(&store.directory), 0o700);
        for (name, _) in [OWNER, PEER, CERTIFICATE] {
            assert_eq!(mode(&store.directory.join(name)), 0o600, "{name}");
        }
        assert_eq!(fs::read_dir(&store.directory).unwrap().count(), 3, "nothing is left beside");
    }

    #[test]
    fn a_producer_needs_the_root_and_is_certified_by_it() {
        let (_directory, store) = store();
        let refused = store.identity(Role::Producer, fresh(1), UnixMillis(5));
        assert!(matches!(refused, Err(Error::NoRoot { .. })));
        let root = Phrase::from_entropy([4; 32]).root();
        store.put_root(&root).unwrap();
        store.put_root(&root).unwrap();
        let other = Phrase::from_entropy([5; 32]).root();
        assert!(matches!(store.put_root(&other), Err(Error::Exists { .. })));
        let identity = store.identity(Role::Producer, fresh(1), UnixMillis(5)).unwrap();
        assert_eq!(identity.certificate.owner, root.owner_key().id());
        assert_eq!(store.root().unwrap().unwrap().as_bytes(), root.as_bytes());
    }

    #[test]
    fn another_role_or_owner_makes_a_new_certificate() {
        let (_directory, store) = store();
        let consumer = store.identity(Role::Consumer, fresh(1), UnixMillis(5)).unwrap();
        let root = Phrase::from_entropy([4; 32]).root();
        store.put_root(&root).unwrap();
        let owned = store.identity(Role::Consumer, fresh(1), UnixMillis(5)).unwrap();
        assert_ne!(consumer.certificate.owner, owned.certificate.owner);
        assert_eq!(consumer.certificate.peer, owned.certificate.peer);
    }

    #[test]
    fn files_that_others_may_read_are_refused() {
        let (_directory, store) = store();
        store.identity(Role::Tracker, fresh(1), UnixMillis(5)).unwrap();
        let path = store.directory.join("peer.key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = store.identity(Role::Tracker, fresh(1), UnixMillis(5)).err().unwrap();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn damage_is_named_and_nothing_is_overwritten() {
        let (_directory, store) = store();
        store.identity(Role::Tracker, fresh(1), UnixMillis(5)).unwrap();
        let path = store.directory.join("peer.key");
        for text in
            ["", "openbucket peer key 1\n", "openbucket peer key 1\nzz\n", "openbucket peer key 1\n00\n", "x\n00"]
        {
            fs::write(&path, text).unwrap();
            let error = store.identity(Role::Tracker, fresh(1), UnixMillis(5)).err();
            assert!(matches!(error, Some(Error::Damaged { .. })), "{text}: {error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, "openbucket peer key 2\n00\n").unwrap();
        let error = store.identity(Role::Tracker, fresh(1), UnixMillis(5)).err();
        assert!(matches!(error, Some(Error::Newer { found: 2, .. })));
        fs::write(&path, vec![b'x'; 100_000]).unwrap();
        assert!(matches!(store.secret(PEER), Err(Error::Damaged { .. })));
    }
}
