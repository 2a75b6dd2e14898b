//! Secrets as files of mode 0600 beside the database: signing keys of accounts, secrets of the server.
//!
//! They are outside the database so that a copy of it gives nobody's identity away.

use std::path::Path;

use atproto::crypto::SigningKey;
use atproto::syntax::Did;

use crate::Store;
use crate::env::Env;
use crate::error::StoreError;
use crate::files::{read_small, write_durably};
use crate::writer::Tx;

/// Length of a signing key, bytes.
pub(crate) const KEY_BYTES: u64 = 32;

/// Bytes of a server secret that is made here.
const SECRET_BYTES: usize = 32;

impl Env {
    /// Reads an account's signing key.
    pub(crate) fn read_key(&self, did: &Did) -> Result<SigningKey, StoreError> {
        let path = self.key_path(did);
        let bytes = read_small(&*self.config.files, &path, KEY_BYTES)
            .map_err(StoreError::file("reading the signing key", &path))?
            .ok_or_else(|| StoreError::corrupt(format!("the signing key of {did} is missing")))?;
        SigningKey::from_bytes(&bytes)
            .map_err(|_| StoreError::corrupt(format!("the signing key of {did} is not a key")))
    }
}

impl Tx<'_> {
    /// Makes an account's key durable. The caller has checked that no account has that DID.
    pub(crate) fn write_key(&mut self, did: &Did, key: &SigningKey) -> Result<(), StoreError> {
        let path = self.env.key_path(did);
        self.spare_file(&path)?;
        write_durably(&*self.env.config.files, &path, key.to_bytes().as_slice())
            .map_err(StoreError::file("writing the signing key", &path))
    }
}

impl Store {
    /// Gives an account's signing key: for service tokens and PLC operations.
    ///
    /// # Errors
    /// When there is none, or the file cannot be read.
    pub async fn signing_key(&self, did: &Did) -> Result<SigningKey, StoreError> {
        let did = did.clone();
        self.read(move |reader| reader.env().read_key(&did)).await
    }

    /// Gives a secret of the server by name, such as `jwt`; makes it, durably, when it is asked for first.
    ///
    /// `make` gives the bytes of a new one; `None` takes 32 random bytes. Names are of lower-case letters and dashes.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub async fn secret(
        &self,
        name: &'static str,
        make: Option<fn() -> Vec<u8>>,
    ) -> Result<Vec<u8>, StoreError> {
        self.inner.writer()?.call(move |tx| secret(tx.env, &tx.env.secret_path(name), make)).await
    }
}

impl Store {
    /// Gives a secret of the server if it was made before.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn existing_secret(&self, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |reader| {
            let path = reader.env().secret_path(name);
            let files = &*reader.env().config.files;
            read_small(files, &path, SECRET_BYTES_MAX).map_err(StoreError::file("reading a secret", &path))
        })
        .await
    }
}

/// Longest secret that is read back, bytes.
const SECRET_BYTES_MAX: u64 = 4096;

fn secret(env: &Env, path: &Path, make: Option<fn() -> Vec<u8>>) -> Result<Vec<u8>, StoreError> {
    let files = &*env.config.files;
    let found =
        read_small(files, path, SECRET_BYTES_MAX).map_err(StoreError::file("reading a secret", path))?;
    if let Some(bytes) = found {
        return Ok(bytes);
    }
    let bytes = match make {
        Some(make) => make(),
        None => {
            let mut bytes = vec![0; SECRET_BYTES];
            getrandom::fill(&mut bytes)
                .map_err(|_| StoreError::corrupt("the system gives no random numbers"))?;
            bytes
        }
    };
    write_durably(files, path, &bytes).map_err(StoreError::file("writing a secret", path))?;
    Ok(bytes)
}
