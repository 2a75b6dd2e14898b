//! Passwords: argon2id with bounded memory, and failures that look alike.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::error::XrpcError;

/// Memory of one hash, KiB; passes; lanes. One of OWASP's equally strong argon2id settings (12 MiB, 3, 1): the
/// smallest board has 512 MB for everything, and two hashes at once must not be felt there.
const MEMORY_KIB: u32 = 12 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// Hashes running at once. More would let sign-ins take the memory and both cores from everything else.
const CONCURRENT: usize = 2;

/// Sign-ins waiting for a hash; beyond this they are told to come back, so that a flood costs no memory.
const WAITING_MAX: usize = 32;

/// Longest password that may be set, characters: the reference's bound.
pub(crate) const PASSWORD_CHARS_MAX: usize = 256;

/// Longest password that is checked at all, characters: older accounts may have longer ones than may be set now.
pub(crate) const OLD_PASSWORD_CHARS_MAX: usize = 512;

/// A failed sign-in answers no sooner than this after it began, whatever made it fail, so that the time tells nothing
/// about whether the account exists.
pub(crate) const FAILURE_TIME: Duration = Duration::from_millis(350);

/// Hashes and checks passwords on blocking threads, a few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(CONCURRENT)),
            waiting: Arc::new(Semaphore::new(CONCURRENT + WAITING_MAX)),
        }
    }
}

impl Passwords {
    /// Makes the PHC string that is stored for `password`.
    ///
    /// # Errors
    /// 503 when too many are waiting.
    pub(crate) async fn hash(&self, password: String) -> Result<String, XrpcError> {
        self.run(move || {
            argon2()
                .and_then(|a| {
                    a.hash_password(password.as_bytes()).map(|h| h.to_string()).map_err(|e| e.to_string())
                })
                .map_err(XrpcError::internal)
        })
        .await
    }

    /// Tells whether `password` is the one behind `stored`. No stored hash costs the same time as a wrong password.
    ///
    /// # Errors
    /// 503 when too many are waiting.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, XrpcError> {
        self.run(move || match stored.as_deref().map(PasswordHash::new) {
            Some(Ok(hash)) => {
                let argon2 = argon2().map_err(XrpcError::internal)?;
                Ok(argon2.verify_password(password.as_bytes(), &hash).is_ok())
            }
            Some(Err(e)) => Err(XrpcError::internal(format!("stored password hash cannot be read: {e}"))),
            None => {
                let argon2 = argon2().map_err(XrpcError::internal)?;
                let mut out = [0_u8; 32];
                // The result is thrown away: only the work matters.
                let _ignored = argon2.hash_password_into(password.as_bytes(), b"no such account.", &mut out);
                Ok(false)
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, XrpcError> + Send + 'static,
    ) -> Result<T, XrpcError> {
        let busy = || {
            XrpcError::unavailable("ServerBusy", "Too many sign-ins at once. Try again in a few seconds.", 5)
        };
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(XrpcError::internal)?;
        tokio::task::spawn_blocking(move || {
            // Held by the thread: a caller that goes away must not let another hash start beside this one.
            let _permit = permit;
            work()
        })
        .await
        .map_err(XrpcError::internal)?
    }
}

fn argon2() -> Result<Argon2<'static>, String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|e| e.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_passes() {
        let passwords = Passwords::default();
        let stored = passwords.hash("hunter22".to_owned()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=12288,t=3,p=1$"), "{stored}");
        assert!(passwords.verify("hunter22".to_owned(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("hunter23".to_owned(), Some(stored)).await.unwrap());
        assert!(!passwords.verify("hunter22".to_owned(), None).await.unwrap());
    }
}
