//! The environment variables that say who may call, and from where.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `AUTH_MODE` | `jwks`: verify the bearer token here; `apigw`: trust the gateway's authorizer | `jwks` |
//! | `AUTH_JWKS` | JSON Web Key Set with the public keys, inline (mode `jwks`) | required |
//! | `AUTH_ISSUER` | the `iss` a token must carry (mode `jwks`) | required |
//! | `AUTH_AUDIENCE` | the `aud` a token must carry (mode `jwks`) | required |
//! | `AUTH_MAX_TOKEN_SECONDS` | how far ahead a token's `exp` may lie, 60 to 31622400 seconds (mode `jwks`) | 86400 |
//! | `CORS_ALLOWED_ORIGINS` | exact origins, separated by commas | none: no CORS headers |

/// Selects where the caller's identity comes from: `jwks` or `apigw`.
pub const AUTH_MODE: &str = "AUTH_MODE";
/// JSON Web Key Set with the public keys that sign callers' tokens, inline.
pub const AUTH_JWKS: &str = "AUTH_JWKS";
/// The `iss` every token must carry.
pub const AUTH_ISSUER: &str = "AUTH_ISSUER";
/// The `aud` every token must carry.
pub const AUTH_AUDIENCE: &str = "AUTH_AUDIENCE";
/// How far ahead the `exp` of a token may lie, in seconds.
pub const AUTH_MAX_TOKEN_SECONDS: &str = "AUTH_MAX_TOKEN_SECONDS";
/// Origins that browsers may call from, exact, separated by commas.
pub const CORS_ALLOWED_ORIGINS: &str = "CORS_ALLOWED_ORIGINS";
