// Makes the signing key, token-key.json, on first use, readable by its owner alone, and prints a half of it as JSON.
//   node new-key.mjs private    for the Worker's secret TOKEN_KEY
//   node new-key.mjs public     for the chat functions' AUTH_JWKS
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const FILE = new URL('token-key.json', import.meta.url);
if (!existsSync(FILE)) {
  const { privateKey } = generateKeyPairSync('ed25519');
  const key = { ...privateKey.export({ format: 'jwk' }), kid: 'worker-1' };
  writeFileSync(FILE, JSON.stringify(key), { mode: 0o600 });
}
const { d, ...half } = JSON.parse(readFileSync(FILE, 'utf8'));
switch (process.argv[2]) {
  case 'private':
    console.log(JSON.stringify({ ...half, d }));
    break;
  case 'public':
    console.log(JSON.stringify({ keys: [{ ...half, alg: 'EdDSA', use: 'sig' }] }));
    break;
  default:
    console.error('usage: new-key.mjs private | public');
    process.exit(2);
}
