//! Authentication: a token is verified against the cluster, the principals, and the movable clock,
//! in the service's order and words.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::principal::{Action, Principal, Principals};
use crate::sigv4::SignatureError;
use crate::token::Token;

/// One week, the longest life of a token (User Guide: *Generating an authentication token*).
const LONGEST_LIFE_S: u64 = 604_800;

/// Why a token is refused; the kinds that [`Stats`](crate::Stats) counts by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    Malformed,
    Host,
    Region,
    Service,
    UnknownKey,
    SessionToken,
    Signature,
    Lifetime,
    NotYetValid,
    Expired,
    CredentialsExpired,
    Action,
    Account,
    Policy,
    UnmappedRole,
}

impl RefusalKind {
    /// The name in the statistics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Host => "host",
            Self::Region => "region",
            Self::Service => "service",
            Self::UnknownKey => "unknown_key",
            Self::SessionToken => "session_token",
            Self::Signature => "signature",
            Self::Lifetime => "lifetime",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::CredentialsExpired => "credentials_expired",
            Self::Action => "action",
            Self::Account => "account",
            Self::Policy => "policy",
            Self::UnmappedRole => "unmapped_role",
        }
    }
}

/// A refusal with the text that the client finds in the HINT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    pub(crate) hint: String,
}

impl Refusal {
    pub(crate) fn new(kind: RefusalKind, hint: impl Into<String>) -> Self {
        Self {
            kind,
            hint: hint.into(),
        }
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        let kind = match error {
            SignatureError::Region(_) => RefusalKind::Region,
            SignatureError::Service => RefusalKind::Service,
            SignatureError::UnknownKey => RefusalKind::UnknownKey,
            SignatureError::SessionToken => RefusalKind::SessionToken,
            SignatureError::Mismatch => RefusalKind::Signature,
            SignatureError::Expired { .. } => RefusalKind::Expired,
            SignatureError::NotYetValid { .. } => RefusalKind::NotYetValid,
            SignatureError::CredentialsExpired => RefusalKind::CredentialsExpired,
        };
        Self::new(kind, error.to_string())
    }
}

/// What a token is verified against.
#[derive(Debug)]
pub(crate) struct TokenVerifier {
    /// The cluster's host name, for which tokens are signed.
    pub(crate) host: String,
    pub(crate) cluster_id: String,
    pub(crate) region: String,
    pub(crate) account_id: String,
    pub(crate) principals: Arc<Principals>,
    /// How far in the future a token may be dated.
    pub(crate) skew: Duration,
}

impl TokenVerifier {
    /// Checks `token` for a login as `user` and says whose it is.
    pub(crate) fn verify(
        &self,
        token: &str,
        user: &str,
        now: SystemTime,
    ) -> Result<Principal, Refusal> {
        let token = Token::parse(token).ok_or_else(|| {
            Refusal::new(
                RefusalKind::Malformed,
                "The password is not a valid authentication token.",
            )
        })?;
        if token.host != self.host {
            return Err(Refusal::new(
                RefusalKind::Host,
                format!(
                    "The token was signed for host {}, not for {}.",
                    token.host, self.host
                ),
            ));
        }
        let signer = token.signed.signer(&self.region, &self.principals)?;
        if token.life_s == 0 || token.life_s > LONGEST_LIFE_S {
            return Err(Refusal::new(
                RefusalKind::Lifetime,
                format!("X-Amz-Expires must be between 1 and {LONGEST_LIFE_S} seconds"),
            ));
        }
        let life = Duration::from_secs(token.life_s);
        token.signed.check_time(&signer, now, life, self.skew)?;
        self.check_action(&token, &signer, user)?;
        Ok(signer)
    }

    fn check_action(
        &self,
        token: &Token,
        principal: &Principal,
        user: &str,
    ) -> Result<(), Refusal> {
        let action = token.action;
        if action != Action::required_for(user) {
            return Err(Refusal::new(
                RefusalKind::Action,
                format!(
                    "Wrong user to action mapping. user: {user}, action: {}",
                    action.name()
                ),
            ));
        }
        let arn = &principal.arn;
        if principal
            .identity()
            .is_ok_and(|identity| identity.account != self.account_id)
        {
            return Err(Refusal::new(
                RefusalKind::Account,
                format!("User: {arn} is not authorized to access this resource"),
            ));
        }
        if !principal.actions.contains(&action) {
            let cluster = format!(
                "arn:aws:dsql:{}:{}:cluster/{}",
                self.region, self.account_id, self.cluster_id
            );
            let hint = principal.denial(action, &cluster);
            return Err(Refusal::new(RefusalKind::Policy, hint));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::Secret;
    use crate::sigv4::sha256_hex;

    const HOST: &str = "peccy.dsql.us-east-1.on.aws";
    const CONNECT: &str = "peccy.dsql.us-east-1.on.aws/?Action=DbConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=akid%2F20240827%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20240827T000000Z&X-Amz-Expires=450&X-Amz-SignedHeaders=host&X-Amz-Signature=f5f2ad764ca5df44045d4ab6ccecba0eef941b0007e5765885a0b6ed3702a3f8";
    const ADMIN: &str = "peccy.dsql.us-east-1.on.aws/?Action=DbConnectAdmin&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=akid%2F20240827%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20240827T000000Z&X-Amz-Expires=450&X-Amz-SignedHeaders=host&X-Amz-Signature=267cf8d04d84444f7a62d5bdb40c44bfc6cb13dd6c64fa7f772df6bbaa90fff1";
    const TEMPORARY: &str = "peccy.dsql.us-east-1.on.aws/?Action=DbConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=akid%2F20240827%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20240827T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Security-Token=AQo%2F%2B%3DEXAMPLE&X-Amz-Signature=236ab1b16d42d35876f034d8f04605ea98c73b46efea74f901dc6c1b67374f56";
    const SIGNED_AT_S: u64 = 1_724_716_800;

    fn verifier(session_token: Option<&str>) -> TokenVerifier {
        let principals = Arc::new(Principals::default());
        principals
            .add(Principal {
                access_key_id: "akid".into(),
                secret_access_key: Secret::new("secret"),
                session_token: session_token.map(Secret::new),
                arn: "arn:aws:iam::123456789012:user/peccy".into(),
                actions: vec![Action::DbConnect, Action::DbConnectAdmin],
                expires_at: None,
            })
            .unwrap();
        TokenVerifier {
            host: HOST.into(),
            cluster_id: "peccy".into(),
            region: "us-east-1".into(),
            account_id: "123456789012".into(),
            principals,
            skew: Duration::from_secs(300),
        }
    }

    fn verify(
        verifier: &TokenVerifier,
        token: &str,
        user: &str,
        after_s: i64,
    ) -> Result<Principal, Refusal> {
        let now =
            UNIX_EPOCH + Duration::from_secs(SIGNED_AT_S.checked_add_signed(after_s).unwrap());
        verifier.verify(token, user, now)
    }

    fn kind(result: Result<Principal, Refusal>) -> RefusalKind {
        result.unwrap_err().kind
    }

    #[test]
    fn the_published_vectors_are_accepted() {
        let permanent = verifier(None);
        verify(&permanent, CONNECT, "app", 0).unwrap();
        verify(&permanent, ADMIN, "admin", 450).unwrap();
        verify(&verifier(Some("AQo/+=EXAMPLE")), TEMPORARY, "app", 899).unwrap();
    }

    #[test]
    fn the_canonical_request_has_the_published_digest() {
        let digest = |token| {
            let token = Token::parse(token).unwrap();
            sha256_hex(token.signed.canonical_request.as_bytes())
        };
        assert_eq!(
            digest(CONNECT),
            "3c1402505ef9b6bb6222037e1d068537b99830143d445035538ca111a7126b3d"
        );
        assert_eq!(
            digest(ADMIN),
            "2f5d99741812ce47543f322059eb30738334b566b20209ca84eb7479fe38d139"
        );
        assert_eq!(
            digest(TEMPORARY),
            "f34e9f22554f7920ee739156aac7f87437ffed666bbb5ffed1c3aed49e60ba24"
        );
    }

    #[test]
    fn the_order_of_the_query_does_not_matter() {
        let (host, query) = CONNECT.split_once("/?").unwrap();
        let mut pairs: Vec<&str> = query.split('&').collect();
        pairs.reverse();
        verify(
            &verifier(None),
            &format!("{host}/?{}", pairs.join("&")),
            "app",
            0,
        )
        .unwrap();
    }

    #[test]
    fn an_altered_token_is_refused() {
        let known = verifier(None);
        let altered = CONNECT.replace("f5f2ad", "f5f2ae");
        assert_eq!(
            kind(verify(&known, &altered, "app", 0)),
            RefusalKind::Signature
        );
        let longer = CONNECT.replace("Expires=450", "Expires=900");
        assert_eq!(
            kind(verify(&known, &longer, "app", 0)),
            RefusalKind::Signature
        );
        let promoted = CONNECT.replace("Action=DbConnect&", "Action=DbConnectAdmin&");
        assert_eq!(
            kind(verify(&known, &promoted, "admin", 0)),
            RefusalKind::Signature
        );
        let elsewhere = CONNECT.replace("peccy.dsql", "pecky.dsql");
        assert_eq!(
            kind(verify(&known, &elsewhere, "app", 0)),
            RefusalKind::Host
        );
        let region = CONNECT.replace("%2Fus-east-1", "%2Feu-west-1");
        assert_eq!(kind(verify(&known, &region, "app", 0)), RefusalKind::Region);
        let service = CONNECT.replace("%2Fdsql%2F", "%2Frds-db%2F");
        assert_eq!(
            kind(verify(&known, &service, "app", 0)),
            RefusalKind::Service
        );
        let key = CONNECT.replace("=akid", "=akie");
        assert_eq!(
            kind(verify(&known, &key, "app", 0)),
            RefusalKind::UnknownKey
        );
    }

    #[test]
    fn what_is_not_a_token_is_malformed() {
        let known = verifier(None);
        let twice = format!("{CONNECT}&Action=DbConnect");
        let extra = format!("{CONNECT}&X-Amz-Extra=1");
        let scheme = format!("https://{CONNECT}");
        let cut = &CONNECT[..CONNECT.len() - 2];
        for token in [
            "",
            "secret",
            "/?",
            "host/?",
            twice.as_str(),
            extra.as_str(),
            scheme.as_str(),
            cut,
        ] {
            assert_eq!(
                kind(verify(&known, token, "app", 0)),
                RefusalKind::Malformed,
                "{token}"
            );
        }
    }

    #[test]
    fn time_decides_with_the_services_words() {
        let known = verifier(None);
        let late = verify(&known, CONNECT, "app", 451).unwrap_err();
        assert_eq!(late.kind, RefusalKind::Expired);
        assert_eq!(
            late.hint,
            "Signature expired: 20240827T000000Z is now earlier than 20240827T000001Z (20240827T000731Z - 8 min.)"
        );
        verify(&known, CONNECT, "app", -300).unwrap();
        assert_eq!(
            kind(verify(&known, CONNECT, "app", -301)),
            RefusalKind::NotYetValid
        );
    }

    #[test]
    fn the_session_token_must_be_the_principals_own() {
        assert_eq!(
            kind(verify(&verifier(Some("other")), TEMPORARY, "app", 0)),
            RefusalKind::SessionToken
        );
        assert_eq!(
            kind(verify(&verifier(Some("other")), CONNECT, "app", 0)),
            RefusalKind::SessionToken
        );
        assert_eq!(
            kind(verify(&verifier(None), TEMPORARY, "app", 0)),
            RefusalKind::SessionToken
        );
    }

    #[test]
    fn the_action_must_fit_the_user() {
        let known = verifier(None);
        let refusal = verify(&known, CONNECT, "admin", 0).unwrap_err();
        assert_eq!(
            refusal.hint,
            "Wrong user to action mapping. user: admin, action: DbConnect"
        );
        let refusal = verify(&known, ADMIN, "app", 0).unwrap_err();
        assert_eq!(
            refusal.hint,
            "Wrong user to action mapping. user: app, action: DbConnectAdmin"
        );
    }
}
