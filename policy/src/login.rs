//! Logins with a password: what is known at once, what takes time, and what becomes of it.
//!
//! Checking a human's password is made to take milliseconds. So a login has three steps, of which only the second is slow
//! and needs nothing but the policy, the name and the password: [`Policy::recall`], [`Policy::verify`],
//! [`Policy::admit`].

use crate::credential::Credential;
use crate::decision::{Action, Client, Decision, Refusal};
use crate::fingerprint::Fingerprint;
use crate::policy::Policy;

/// What came of a password. It admits nobody yet: [`Policy::admit`] does.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(Result<Place, Refusal>);

/// Where in the user's list the password string stands that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Later,
}

impl Verdict {
    fn right(at: usize) -> Self {
        Self(Ok(if at == 0 { Place::First } else { Place::Later }))
    }

    fn wrong(refusal: Refusal) -> Self {
        Self(Err(refusal))
    }

    /// Whether the password is right, but not the first of the user's: one that is being replaced.
    #[must_use]
    pub fn is_old(&self) -> bool {
        self.0 == Ok(Place::Later)
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
        let Some(password) = password else { return Some(Verdict::wrong(Refusal::NoPasswordGiven)) };
        let login = self.fingerprints.of(b"", Some(user), Some(password));
        let fits = |credential: &Credential| {
            login.as_ref().is_some_and(|login| credential.is_remembered(login))
                || (credential.is_quick() && credential.verify(password))
        };
        let (credentials, refusal) = self.standing_in(user);
        let found = credentials.iter().position(fits);
        match (found, refusal) {
            (Some(at), None) => Some(Verdict::right(at)),
            (_, refusal) if credentials.iter().all(Credential::is_quick) => {
                Some(Verdict::wrong(refusal.unwrap_or(Refusal::WrongPassword)))
            }
            _ => None,
        }
    }

    /// Checks a password in full, which takes as long as the user's password strings say, and remembers one that is right.
    /// An unknown name takes as long as the user whose place it takes (S30).
    pub fn verify(&self, user: &[u8], password: &[u8]) -> Verdict {
        let (credentials, refusal) = self.standing_in(user);
        let found = credentials.iter().position(|credential| !credential.is_quick() && credential.verify(password));
        match (found, refusal) {
            (Some(at), None) => {
                let login: Option<Fingerprint> = self.fingerprints.of(b"", Some(user), Some(password));
                if let (Some(credential), Some(login)) = (credentials.get(at), login) {
                    credential.remember(login);
                }
                Verdict::right(at)
            }
            (_, refusal) => Verdict::wrong(refusal.unwrap_or(Refusal::WrongPassword)),
        }
    }

    /// Decides what becomes of a login whose password was checked. The client id is judged on every path, so that the time
    /// taken tells nothing of the password (S1).
    pub fn admit(&self, client: &Client<'_>, purpose: Action<'_>, verdict: &Verdict) -> Decision {
        let authorized = self.authorize(client, purpose);
        match verdict.0 {
            Ok(_) => authorized,
            Err(refusal) => Decision::Deny(refusal),
        }
    }

    /// The password strings to check against: the user's own or, with the refusal that will come of it, some other user's.
    fn standing_in(&self, user: &[u8]) -> (&[Credential], Option<Refusal>) {
        let refusal = match self.users.get(user) {
            Some(user) if !user.credentials.is_empty() => return (&user.credentials, None),
            Some(_) => Refusal::NoPasswordSet,
            None => Refusal::NotListed,
        };
        let decoy = self.decoys.choose(user).and_then(|name| self.users.get(name));
        (decoy.map_or(&[], |decoy| &decoy.credentials), Some(refusal))
    }
}
