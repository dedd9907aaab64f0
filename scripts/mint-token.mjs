// Mints a visitor's JWT with a local Ed25519 key, as the edge does with its own.
//   node scripts/mint-token.mjs jwks  KEYFILE                → the public key set (AUTH_JWKS)
//   node scripts/mint-token.mjs jwk   KEYFILE                → the private key, for a site that mints itself (TOKEN_KEY)
//   node scripts/mint-token.mjs token KEYFILE SUBJECT [TTL_S] → a token, valid TTL_S seconds (86,400)
// KEYFILE is made on first use, readable by its owner alone.
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const [command, keyFile, subject, ttl = '86400'] = process.argv.slice(2);
const KID = 'local-1';
const usage = 'usage: mint-token.mjs jwks KEYFILE | jwk KEYFILE | token KEYFILE SUBJECT [TTL_S]';

function privateKey() {
  if (!existsSync(keyFile)) {
    const { privateKey } = generateKeyPairSync('ed25519');
    mkdirSync(dirname(keyFile), { recursive: true, mode: 0o700 });
    writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  }
  return createPrivateKey(readFileSync(keyFile));
}

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

if (command === 'jwks' && keyFile) {
  const { kty, crv, x } = createPublicKey(privateKey()).export({ format: 'jwk' });
  console.log(JSON.stringify({ keys: [{ kty, crv, x, kid: KID, alg: 'EdDSA', use: 'sig' }] }));
} else if (command === 'jwk' && keyFile) {
  console.log(JSON.stringify({ ...privateKey().export({ format: 'jwk' }), kid: KID }));
} else if (command === 'token' && keyFile && subject && Number(ttl) > 0) {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: process.env.AUTH_ISSUER ?? 'http://localhost',
    aud: process.env.AUTH_AUDIENCE ?? 'chat',
    sub: subject,
    iat: now,
    exp: now + Number(ttl),
  };
  const input = `${encode({ alg: 'EdDSA', typ: 'JWT', kid: KID })}.${encode(claims)}`;
  console.log(`${input}.${sign(null, Buffer.from(input), privateKey()).toString('base64url')}`);
} else {
  console.error(usage);
  process.exit(2);
}
