// Makes the secrets. The first two lines go to the Worker, the last one to the chat backend, which sees no private key.
import { generateKeyPairSync, randomBytes } from 'node:crypto'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const kid = randomBytes(6).toString('base64url')
const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }] }
console.log(`JWT_PRIVATE_KEY=${JSON.stringify({ ...privateKey.export({ format: 'jwk' }), kid })}`)
console.log(`VISITOR_SECRET=${randomBytes(32).toString('base64url')}`)
console.log(`AUTH_JWKS=${JSON.stringify(jwks)}`)
