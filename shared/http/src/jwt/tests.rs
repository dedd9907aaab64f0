use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_795_305_600;

struct Signer {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self {
            ed: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
                .unwrap(),
        }
    }

    fn keys(&self) -> JwkSet {
        let point = self.ec.public_key().as_ref();
        JwkSet::parse(
            &json!({"keys": [
                {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(self.ed.public_key().as_ref())},
                {"kty": "EC", "crv": "P-256", "kid": "ec", "x": encode(&point[1..33]), "y": encode(&point[33..])},
            ]})
            .to_string(),
        )
        .unwrap()
    }

    fn ed(&self, header: &Value, claims: &Value) -> String {
        signed(header, claims, |message| {
            self.ed.sign(message).as_ref().to_vec()
        })
    }

    fn ec(&self, header: &Value, claims: &Value) -> String {
        signed(header, claims, |message| {
            self.ec
                .sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec()
        })
    }

    fn check(&self, token: &str) -> Result<Claims, Rejection> {
        verify(
            token,
            &self.keys(),
            &policy(),
            UNIX_EPOCH + Duration::from_secs(NOW),
        )
    }

    fn with(&self, change: impl FnOnce(&mut Value)) -> Result<Claims, Rejection> {
        let mut claims = claims();
        change(&mut claims);
        self.check(&self.ed(&json!({"alg": "EdDSA", "kid": "ed"}), &claims))
    }
}

fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let signature = encode(&sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn policy() -> Policy {
    Policy {
        issuer: "https://blog.example".into(),
        audience: "chat".into(),
        max_lifetime: Duration::from_secs(3_600),
    }
}

fn claims() -> Value {
    json!({"iss": "https://blog.example", "aud": "chat", "sub": "u1", "exp": NOW + 300})
}

#[test]
fn the_eddsa_example_of_rfc_8037_verifies() {
    let keys = JwkSet::parse(
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    )
    .unwrap();
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
        hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(
        verified_payload(token, &keys).unwrap(),
        b"Example of Ed25519 signing"
    );
}

#[test]
fn the_es256_example_of_rfc_7515_verifies() {
    let keys = JwkSet::parse(
        r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
    )
    .unwrap();
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(
        verified_payload(token, &keys)
            .unwrap()
            .starts_with(b"{\"iss\":\"joe\"")
    );
}

#[test]
fn both_algorithms_are_accepted_each_with_its_own_key() {
    let signer = Signer::new();
    let ed = signer.ed(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
    assert_eq!(signer.check(&ed).unwrap().subject, "u1");
    let ec = signer.ec(&json!({"alg": "ES256", "kid": "ec"}), &claims());
    assert_eq!(signer.check(&ec).unwrap().subject, "u1");
}

#[test]
fn a_token_that_was_accepted_before_is_refused_once_it_has_expired() {
    let signer = Signer::new();
    let keys = signer.keys();
    let token = signer.ed(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
    let at = |seconds| {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        verify(&token, &keys, &policy(), now).map(|claims| claims.subject)
    };
    assert_eq!(at(NOW), Ok("u1".to_owned()));
    assert_eq!(at(NOW + 300), Ok("u1".to_owned()), "within the leeway");
    assert_eq!(at(NOW + 330), Err(Rejection::Expired));
    assert_eq!(at(NOW - 3_330), Ok("u1".to_owned()), "within the leeway");
    assert_eq!(at(NOW - 3_331), Err(Rejection::Lifetime));
    let elsewhere = Policy {
        audience: "sql".to_owned(),
        ..policy()
    };
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    assert_eq!(
        verify(&token, &keys, &elsewhere, now),
        Err(Rejection::Audience)
    );
}

#[test]
fn an_algorithm_that_does_not_fit_the_named_key_is_refused() {
    let signer = Signer::new();
    let token = signer.ed(&json!({"alg": "ES256", "kid": "ed"}), &claims());
    assert_eq!(signer.check(&token), Err(Rejection::UnknownKey));
    let token = signer.ed(&json!({"alg": "EdDSA", "kid": "ec"}), &claims());
    assert_eq!(signer.check(&token), Err(Rejection::UnknownKey));
    let token = signer.ed(&json!({"alg": "ES256", "kid": "ec"}), &claims());
    assert_eq!(signer.check(&token), Err(Rejection::Signature));
}

#[test]
fn algorithms_off_the_list_are_refused() {
    let signer = Signer::new();
    for alg in [
        "none", "None", "HS256", "RS256", "PS256", "ES384", "eddsa", "",
    ] {
        let token = signer.ed(&json!({"alg": alg, "kid": "ed"}), &claims());
        assert_eq!(signer.check(&token), Err(Rejection::Algorithm), "{alg}");
    }
}

#[test]
fn a_token_signed_with_the_public_key_as_hmac_secret_is_refused() {
    let signer = Signer::new();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, signer.ed.public_key().as_ref());
    let token = signed(
        &json!({"alg": "HS256", "kid": "ed"}),
        &claims(),
        |message| ring::hmac::sign(&key, message).as_ref().to_vec(),
    );
    assert_eq!(signer.check(&token), Err(Rejection::Algorithm));
}

#[test]
fn an_unknown_key_and_a_foreign_signature_are_refused() {
    let signer = Signer::new();
    let token = signer.ed(&json!({"alg": "EdDSA", "kid": "old"}), &claims());
    assert_eq!(signer.check(&token), Err(Rejection::UnknownKey));
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let token = signed(
        &json!({"alg": "EdDSA", "kid": "ed"}),
        &claims(),
        |message| other.sign(message).as_ref().to_vec(),
    );
    assert_eq!(signer.check(&token), Err(Rejection::Signature));
}

#[test]
fn every_truncation_and_every_changed_character_is_refused() {
    let signer = Signer::new();
    let token = signer.ed(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
    for length in 0..token.len() {
        assert!(signer.check(&token[..length]).is_err(), "cut to {length}");
    }
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(signer.check(&changed).is_err(), "changed at {at}");
    }
    for other in [
        format!("{token}."),
        format!("{token}.e30"),
        format!("{token}="),
        "..".into(),
    ] {
        assert!(signer.check(&other).is_err(), "{other}");
    }
}

#[test]
fn a_critical_extension_is_refused() {
    let signer = Signer::new();
    for crit in [json!(["b64"]), json!([]), Value::Null] {
        let header = json!({"alg": "EdDSA", "kid": "ed", "crit": crit});
        let token = signer.ed(&header, &claims());
        assert_eq!(signer.check(&token), Err(Rejection::Critical), "{crit}");
    }
}

#[test]
fn header_and_claims_are_objects() {
    let signer = Signer::new();
    let header = json!({"alg": "EdDSA", "kid": "ed"});
    let listed = json!(["https://blog.example", "chat", "u1", NOW + 300, null, false]);
    for token in [
        signer.ed(&json!(["EdDSA", "ed"]), &claims()),
        signer.ed(&header, &listed),
    ] {
        assert_eq!(signer.check(&token), Err(Rejection::Malformed));
    }
}

#[test]
fn a_token_longer_than_8_kib_is_refused_unread() {
    let signer = Signer::new();
    assert_eq!(
        signer.with(|claims| claims["pad"] = "x".repeat(8192).into()),
        Err(Rejection::TooLong)
    );
}

#[test]
fn issuer_and_audience_must_be_ours() {
    let signer = Signer::new();
    for issuer in [json!("https://evil.example"), Value::Null] {
        assert_eq!(
            signer.with(|claims| claims["iss"] = issuer),
            Err(Rejection::Issuer)
        );
    }
    for audience in [json!("chats"), json!([]), json!(["a", "b"]), Value::Null] {
        assert_eq!(
            signer.with(|claims| claims["aud"] = audience),
            Err(Rejection::Audience)
        );
    }
    assert!(
        signer
            .with(|claims| claims["aud"] = json!(["other", "chat"]))
            .is_ok()
    );
}

#[test]
fn a_token_ends_30_seconds_after_exp_and_begins_30_seconds_before_nbf() {
    let signer = Signer::new();
    assert!(
        signer
            .with(|claims| claims["exp"] = json!(NOW - 29))
            .is_ok()
    );
    assert_eq!(
        signer.with(|claims| claims["exp"] = json!(NOW - 30)),
        Err(Rejection::Expired)
    );
    assert_eq!(
        signer.with(|claims| claims["exp"] = Value::Null),
        Err(Rejection::Expired)
    );
    assert_eq!(
        signer.with(|claims| claims["exp"] = json!("soon")),
        Err(Rejection::Malformed)
    );
    assert!(
        signer
            .with(|claims| claims["nbf"] = json!(NOW + 30))
            .is_ok()
    );
    assert_eq!(
        signer.with(|claims| claims["nbf"] = json!(NOW + 31)),
        Err(Rejection::NotYetValid)
    );
}

#[test]
fn a_subject_is_1_to_128_visible_characters() {
    let signer = Signer::new();
    assert!(
        signer
            .with(|claims| claims["sub"] = json!("auth0|5f7c-x@y.z"))
            .is_ok()
    );
    assert!(
        signer
            .with(|claims| claims["sub"] = "s".repeat(128).into())
            .is_ok()
    );
    for subject in ["", " ", "a b", "a\u{0}", "a\n", "é", &"s".repeat(129)] {
        assert_eq!(
            signer.with(|claims| claims["sub"] = json!(subject)),
            Err(Rejection::Subject),
            "{subject:?}"
        );
    }
    assert_eq!(
        signer.with(|claims| claims["sub"] = Value::Null),
        Err(Rejection::Subject)
    );
}

#[test]
fn a_guest_says_so() {
    let signer = Signer::new();
    assert!(
        signer
            .with(|claims| claims["anon"] = json!(true))
            .unwrap()
            .anonymous
    );
    assert!(!signer.with(|_| ()).unwrap().anonymous);
}
