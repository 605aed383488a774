import { createHash, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { createLocalJWKSet, jwtVerify } from 'jose';
import type { JSONWebKeySet, JWTHeaderParameters, JWTVerifyOptions } from 'jose';
import { PortcullisError, attempt } from '../../base/errors/index.ts';
import { recordOf } from '../json/strict-json.ts';
import { keyFlaw } from '../keys/key-flaw.ts';
import { findPath } from '../x509/path.ts';
import { readCertificate } from '../x509/certificate.ts';
import { certificatesOfPem } from '../x509/pem.ts';

/** The permission that a request needs. */
export interface Access {
  readonly type: 'repository' | 'registry';
  readonly name: string;
  readonly actions: readonly string[];
}

/**
 * The authority whose tokens are accepted (Docker's token authentication, like Notary's `auth: { type: token
 * }`).
 */
export interface TokenAuthority {
  /** Where clients get tokens: the address in the challenge. */
  readonly realm: string;
  /** The required audience of tokens (`aud`). */
  readonly service: string;
  /** The required issuer of tokens (`iss`). */
  readonly issuer: string;
  /** PEM: certificates of the keys that sign tokens, or of authorities that certify these keys (`x5c`). */
  readonly certificates?: string;
  /** A JSON Web Key Set (RFC 7517). */
  readonly jwks?: { readonly keys: readonly object[] };
}

/**
 * Checks a request.
 * @returns undefined when the request is allowed; else the value of `WWW-Authenticate`
 */
export type Guard = (authorization: string | undefined, access: Access) => Promise<string | undefined>;

/** Asymmetric algorithms only: a public key must never be used as a shared secret. */
const algorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
const mostTokenBytes = 64 * 1024;

/**
 * Creates the guard that checks tokens.
 * @param clock milliseconds since 1970
 * @throws PortcullisError TRUST_SERVICE_TOKENS for a realm or service that is not valid in a challenge, and
 * for a key set that is unsafe or cannot check a token
 */
export function tokenGuard(authority: TokenAuthority, clock: () => number): Guard {
  const { realm, service, issuer } = authority;
  for (const [name, text] of Object.entries({ realm, service })) refuseUnprintable(name, text);
  if (authority.jwks !== undefined) refuseFlawedKeys(authority.jwks.keys);
  const keys = keyFinder(authority, clock);
  return async (authorization, access) => {
    const challenge = (fault?: string): string =>
      `Bearer realm=${quoted(realm)},service=${quoted(service)},scope=${quoted(scopeOf(access))}${fault === undefined ? '' : `,error="${fault}"`}`;
    const [, token] = /^Bearer\s+(\S+)$/iu.exec(authorization ?? '') ?? [];
    if (token === undefined) return challenge();
    if (token.length > mostTokenBytes) return challenge('invalid_token');
    const options: JWTVerifyOptions = {
      issuer,
      audience: service,
      algorithms,
      clockTolerance: 60,
      currentDate: new Date(clock()),
      requiredClaims: ['exp'],
    };
    try {
      const { payload } = await jwtVerify(token, keys, options);
      return allows(payload['access'], access) ? undefined : challenge('insufficient_scope');
    } catch {
      return challenge('invalid_token');
    }
  };
}

/** Refuses a text that is not valid in a header: every challenge would fail. */
function refuseUnprintable(name: string, text: string): void {
  if (/^[\x20-\x7e]+$/u.test(text)) return;
  throw new PortcullisError({
    code: 'TRUST_SERVICE_TOKENS',
    kind: 'invalid',
    attempted: 'demand tokens',
    on: `the ${name} of the token authority`,
    why: 'it is sent in a header of each refusal, and it is empty or contains a character that is not printable ASCII',
    fix: 'write it in printable ASCII, and percent-encode an address',
  });
}

/** Refuses a key set with an unsafe key, and one that can check no token. */
function refuseFlawedKeys(keys: readonly object[]): void {
  const refuse = (on: string, why: string, fix: string): never => {
    const code = 'TRUST_SERVICE_TOKENS';
    throw new PortcullisError({ code, kind: 'invalid', attempted: 'demand tokens', on, why, fix });
  };
  const set = 'the key set of the token authority';
  let usable = 0;
  for (const [index, jwk] of keys.entries()) {
    const { kid, d } = recordOf(jwk) ?? {};
    const on = `key ${typeof kid === 'string' ? kid : String(index + 1)} of ${set}`;
    // With a private key no token can be checked, and the service must not have it.
    if (d !== undefined) refuse(on, 'it is a private key', 'name the key set with the public keys');
    const key = attempt(() => createPublicKey({ key: jwk, format: 'jwk' }));
    if (key === undefined) continue;
    usable += 1;
    const flaw = keyFlaw(key);
    if (flaw !== undefined)
      refuse(on, flaw, 'remove this key from the key set, and let the token server sign with another one');
  }
  if (usable === 0)
    refuse(set, 'it has no public key, so that every token would be refused', 'name a set with public keys');
}

/** Returns a quoted string for a header (RFC 9110, section 5.6.4). */
const quoted = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

const scopeOf = ({ type, name, actions }: Access): string => `${type}:${name}:${actions.join(',')}`;

function allows(claim: unknown, { type, name, actions }: Access): boolean {
  const granted = new Set<unknown>();
  for (const entry of Array.isArray(claim) ? claim : []) {
    const fields = recordOf(entry);
    if (fields?.['type'] !== type || fields['name'] !== name || !Array.isArray(fields['actions'])) continue;
    for (const action of fields['actions']) granted.add(action);
  }
  return actions.every((action) => granted.has(action));
}

function keyFinder(
  { certificates, jwks }: TokenAuthority,
  clock: () => number,
): (header: JWTHeaderParameters) => Promise<KeyObject | CryptoKey> {
  const anchors = certificates === undefined ? [] : certificatesOfPem(certificates);
  const set = jwks === undefined ? undefined : createLocalJWKSet(jwks as unknown as JSONWebKeySet);
  return async (header) => {
    if (header.x5c !== undefined && anchors.length > 0) {
      const chain = header.x5c.slice(0, 8).map((text) => Buffer.from(text, 'base64'));
      const [leaf, ...others] = chain.map((raw) => readCertificate(raw));
      if (leaf === undefined) throw new Error('the chain is empty');
      const path = findPath(leaf, { anchors, intermediates: others }, [clock()]);
      if ('problem' in path) throw new Error(path.problem);
      return leaf.key;
    }
    const valid = anchors.filter(({ notAfter }) => notAfter > clock());
    const named = valid.find(({ key }) => keyNames(key).includes(header.kid ?? ''));
    if (named !== undefined) return named.key;
    if (set !== undefined) return set(header);
    const [only, other] = valid;
    if (header.kid !== undefined || only === undefined || other !== undefined)
      throw new Error('no key of that name is trusted');
    return only.key;
  };
}

/**
 * Returns the names that token servers use for a key: libtrust's fingerprint (Docker), and the thumbprint of
 * RFC 7638.
 */
function keyNames(key: KeyObject): string[] {
  const spki = key.export({ format: 'der', type: 'spki' });
  const digest = createHash('sha256').update(spki).digest().subarray(0, 30);
  const { kty, crv, x, y, n, e } = key.export({ format: 'jwk' });
  const members = kty === 'RSA' ? { e, kty, n } : kty === 'EC' ? { crv, kty, x, y } : { crv, kty, x };
  const thumbprint = createHash('sha256').update(JSON.stringify(members)).digest('base64url');
  return [base32(digest).match(/.{4}/gu)?.join(':') ?? '', thumbprint];
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** Encodes base32 (RFC 4648). The input has 30 bytes, which need no padding. */
function base32(bytes: Uint8Array): string {
  let bits = '';
  for (const byte of bytes) bits += byte.toString(2).padStart(8, '0');
  return (bits.match(/.{5}/gu) ?? []).map((five) => alphabet[Number.parseInt(five, 2)]).join('');
}
