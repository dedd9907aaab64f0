//! The example's Worker: the token that it mints is one that the functions accept, for a login and
//! for a guest.

use std::process::Command;

use serde_json::{Value, json};
use tests::binary::workspace;
use tests::http::Request;
use tests::jwt::{AUDIENCE, ISSUER};

use crate::stack::{Stack, launch_chats, send};

/// Makes keys as the example's README says, and asks the Worker for a token of each kind.
const DRIVER: &str = "
import worker from './worker.mjs';
const { privateKey, publicKey } = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
const kid = 'blog-1';
const SIGNING_KEY = JSON.stringify({ ...(await crypto.subtle.exportKey('jwk', privateKey)), kid });
const jwks = { keys: [{ ...(await crypto.subtle.exportKey('jwk', publicKey)), kid, alg: 'EdDSA', use: 'sig' }] };
const env = { SIGNING_KEY, ISSUER: process.env.ISSUER, AUDIENCE: process.env.AUDIENCE };
const mint = async (path) => (await (await worker.fetch(new Request('https://blog.example' + path), env)).json()).token;
console.log(JSON.stringify({ jwks, member: await mint('/member'), guest: await mint('/guest'), foreign: await mint('/foreign') }));
";

const SESSION: &str = "
const VISITORS = { '/guest': { id: 'anon_1', isGuest: true }, '/foreign': { id: 'žofie', isGuest: false } };
export const visitorOf = (request) => VISITORS[new URL(request.url).pathname] ?? { id: 'member', isGuest: false };
";

#[tokio::test]
async fn the_examples_worker_mints_tokens_that_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let worker = std::fs::read_to_string(workspace().join("examples/blog/worker.js")).unwrap();
    let worker = worker.replace("./session.js", "./session.mjs");
    for (name, text) in [
        ("worker.mjs", worker.as_str()),
        ("session.mjs", SESSION),
        ("driver.mjs", DRIVER),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let output = Command::new("node")
        .arg(folder.path().join("driver.mjs"))
        .env("ISSUER", ISSUER)
        .env("AUDIENCE", AUDIENCE)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let minted: Value = serde_json::from_slice(&output.stdout).unwrap();

    let stack = Stack::start().await;
    let function = launch_chats(&stack)
        .env("AUTH_JWKS", minted["jwks"].to_string())
        .start()
        .await;
    for (who, ends) in [("member", false), ("guest", true)] {
        let create = Request::new("POST", "/api/chats")
            .bearer(minted[who].as_str().unwrap())
            .json(&json!({}));
        let made = send(&function, &create).await;
        assert_eq!(made.status, 201, "{who}: {}", made.json());
        assert_eq!(made.json()["expiresAt"].is_string(), ends, "{who}");
    }
    // A well-signed token whose subject is none of ours: an id must be visible ASCII.
    let create = Request::new("POST", "/api/chats")
        .bearer(minted["foreign"].as_str().unwrap())
        .json(&json!({}));
    assert_eq!(send(&function, &create).await.status, 401);
}
