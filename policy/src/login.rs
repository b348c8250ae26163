//! Logins with a password: what is known at once, what takes time, and what becomes of it.
//!
//! Checking a human's password is made to take milliseconds. So a login has three steps, of which only the second is slow
//! and needs nothing but the policy, the name and the password: [`Policy::recall`], [`Policy::verify`],
//! [`Policy::admit`].

use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use crate::credential::{Credential, CredentialId};
use crate::decision::{Action, Client, Decision, Refusal};
use crate::fingerprint::Fingerprint;
use crate::policy::Policy;
use crate::users::Credentials;

/// What came of a password. It admits nobody yet: [`Policy::admit`] does.
#[must_use]
#[derive(Debug)]
pub struct Verdict {
    policy: Identity,
    result: Result<Right, Refusal>,
}

/// The password string that fits: its place in the user's list, and the login to remember there.
#[derive(Debug)]
struct Right {
    at: usize,
    login: Option<Fingerprint>,
}

/// Tells policies apart, so that what was found by one is never taken for the word of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(u64);

impl Identity {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Never 0.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl Verdict {
    /// Whether the password is right, but not the first of the user's: one that is being replaced.
    #[must_use]
    pub fn is_old(&self) -> bool {
        self.result.as_ref().is_ok_and(|right| right.at > 0)
    }
}

impl Policy {
    /// Decides a login: the password is right, and the client is authorized to do what it logs in for,
    /// [`Action::Connect`] or, for a caller of the HTTP listener, [`Action::Api`] (S1, S14).
    pub fn login(&self, client: &Client<'_>, password: Option<&[u8]>, purpose: Action<'_>) -> Decision {
        let Some(user) = client.user else { return self.authorize(client, purpose) };
        let verdict = self.recall(user, password).unwrap_or_else(|| self.verify(user, password.unwrap_or_default()));
        self.admit(client, purpose, &verdict)
    }

    /// What is known of a password within microseconds: it is remembered, or a token, or the user has nothing but tokens.
    /// `None` where it takes [`Policy::verify`] to know.
    ///
    /// An unknown name is answered as the user would be whose place it takes (S30).
    #[must_use]
    pub fn recall(&self, user: &[u8], password: Option<&[u8]>) -> Option<Verdict> {
        let Some(password) = password else { return Some(self.wrong(Refusal::NoPasswordGiven)) };
        let login = self.fingerprint(user, password);
        let fits = |credential: &Credential<'_>| {
            (login.is_some() && self.remembered.get(credential.slot) == login)
                || (credential.is_quick() && credential.verify(password))
        };
        let (credentials, refusal) = self.standing_in(user);
        let found = credentials.iter().position(fits);
        match (found, refusal) {
            (Some(at), None) => Some(self.right(Right { at, login: None })),
            (_, refusal) if credentials.iter().all(|credential| credential.is_quick()) => {
                Some(self.wrong(refusal.unwrap_or(Refusal::WrongPassword)))
            }
            _ => None,
        }
    }

    /// Checks a password in full, which takes as long as the user's password strings say. An unknown name takes as long as
    /// the user whose place it takes (S30).
    pub fn verify(&self, user: &[u8], password: &[u8]) -> Verdict {
        let (credentials, refusal) = self.standing_in(user);
        // All of them, so that the time does not tell whether one fits, nor which.
        let fitting: SmallVec<[usize; 4]> = (0..)
            .zip(&credentials)
            .filter(|(_, credential)| !credential.is_quick() && credential.verify(password))
            .map(|(at, _)| at)
            .collect();
        match (fitting.first().copied(), refusal) {
            (Some(at), None) => self.right(Right { at, login: self.fingerprint(user, password) }),
            (_, refusal) => self.wrong(refusal.unwrap_or(Refusal::WrongPassword)),
        }
    }

    /// Decides what becomes of a login whose password was checked, by this policy, and remembers it if it is admitted.
    ///
    /// The client id is judged on every path, and only a login that passes it too is remembered: the time that this attempt
    /// or the next one takes tells nothing of the password (S1, S30).
    pub fn admit(&self, client: &Client<'_>, purpose: Action<'_>, verdict: &Verdict) -> Decision {
        let authorized = self.authorize(client, purpose);
        let right = match &verdict.result {
            Err(refusal) => return Decision::Deny(*refusal),
            Ok(_) if verdict.policy != self.identity => return Decision::Deny(Refusal::WrongPassword),
            Ok(right) => right,
        };
        if let (Decision::Allow(_), Some(login), Some(user)) = (authorized, &right.login, client.user) {
            let credentials = self.users.get(user).map(|user| user.credentials()).unwrap_or_default();
            if let Some(credential) = credentials.get(right.at) {
                self.remembered.set(credential.slot, login);
            }
        }
        authorized
    }

    /// Whether the verdict was found by this policy, which alone can act on it.
    #[must_use]
    pub fn found(&self, verdict: &Verdict) -> bool {
        verdict.policy == self.identity
    }

    /// Which of the user's password strings fits, for [`Policy::has_credential`]; `None` where none does.
    #[must_use]
    pub fn credential(&self, user: &[u8], verdict: &Verdict) -> Option<CredentialId> {
        let right = verdict.result.as_ref().ok().filter(|_| self.found(verdict))?;
        self.users.get(user)?.credentials().get(right.at).map(|credential| credential.id())
    }

    /// What stands for the password of a login, in this process only.
    #[must_use]
    pub fn fingerprint(&self, user: &[u8], password: &[u8]) -> Option<Fingerprint> {
        self.fingerprints.of(b"", Some(user), Some(password))
    }

    fn right(&self, right: Right) -> Verdict {
        Verdict { policy: self.identity, result: Ok(right) }
    }

    fn wrong(&self, refusal: Refusal) -> Verdict {
        Verdict { policy: self.identity, result: Err(refusal) }
    }

    /// The password strings to check against: the user's own or, with the refusal that will come of it, some other user's.
    fn standing_in(&self, user: &[u8]) -> (Credentials<'_>, Option<Refusal>) {
        let refusal = match self.users.get(user) {
            Some(user) if user.has_password() => return (user.credentials(), None),
            Some(_) => Refusal::NoPasswordSet,
            None => Refusal::NotListed,
        };
        let decoy = self.decoys.choose(user).and_then(|name| self.users.get(name));
        (decoy.map(|decoy| decoy.credentials()).unwrap_or_default(), Some(refusal))
    }
}
