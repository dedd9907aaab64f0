// The token that the chat functions verify: a JWT signed with Ed25519. They know the public key alone (AUTH_JWKS).

export interface SigningKey extends JsonWebKey {
  kid: string;
}

export async function mint(jwk: SigningKey, claims: Record<string, string | boolean>, seconds: number): Promise<string> {
  const { kid, ...material } = jwk;
  const key = await crypto.subtle.importKey('jwk', { ...material, key_ops: ['sign'] }, { name: 'Ed25519' }, false, ['sign']);
  const now = Math.floor(Date.now() / 1000);
  const input = [{ alg: 'EdDSA', typ: 'JWT', kid }, { ...claims, iat: now, exp: now + seconds }].map(encode).join('.');
  const signature = await crypto.subtle.sign('Ed25519', key, new TextEncoder().encode(input));
  return `${input}.${base64url(new Uint8Array(signature))}`;
}

function encode(part: unknown): string {
  return base64url(new TextEncoder().encode(JSON.stringify(part)));
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
