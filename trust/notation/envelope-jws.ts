import { decodeBase64, parseStrictJson, recordOf } from '../json/strict-json.ts';
import { headers } from './media-types.ts';
import type { OpenedEnvelope } from './opened-envelope.ts';
import { readRfc3339 } from '../json/rfc3339.ts';

const ownMembers = ['alg', 'cty', 'crit'];
const timeLabels: readonly string[] = [headers.signingTime, headers.authenticSigningTime, headers.expiry];

/**
 * Reads a JWS in its flattened JSON form (RFC 7515 section 7.2.2, signature-envelope-jws.md).
 * @throws Error with a sentence
 */
export function openJws(bytes: Uint8Array): OpenedEnvelope {
  const envelope = recordOf(parseStrictJson(bytes));
  const header = recordOf(envelope?.['header']);
  const { payload, protected: encoded, signature } = envelope ?? {};
  const content = base64Url(payload, 'payload');
  const signed = recordOf(parseStrictJson(base64Url(encoded, 'protected header')));
  if (signed === undefined) throw new Error('its protected header is not an object');
  if (header === undefined) throw new Error('it contains no certificate chain');
  // RFC 7515 section 7.2.1: a name occurs in only one of the two, so that no unsigned value can pass for a
  // signed one.
  const both = Object.keys(signed).find((name) => Object.hasOwn(header, name));
  if (both !== undefined)
    throw new Error(`it has ${JSON.stringify(both.slice(0, 80))} both signed and unsigned`);
  const { alg, cty, crit } = signed;
  if (typeof alg !== 'string') throw new Error('it names no algorithm');
  if (!Array.isArray(crit) || crit.length === 0 || crit.some((label) => typeof label !== 'string'))
    throw new Error('it lists no critical headers');
  const chain = header['x5c'];
  if (!Array.isArray(chain) || chain.length === 0) throw new Error('it contains no certificate chain');
  const stamp = header[headers.timestampSignature];
  return {
    algorithm: alg,
    contentType: cty,
    critical: crit,
    attributes: new Map(
      Object.entries(signed)
        .filter(([name]) => !ownMembers.includes(name))
        .map(([name, value]) => [name, timeLabels.includes(name) ? timeIn(value, name) : value]),
    ),
    payload: content,
    signature: base64Url(signature, 'signature'),
    signed: Buffer.from(`${String(encoded)}.${String(payload)}`, 'latin1'),
    chain: chain.map((one, index) => bytesOf(one, `certificate ${index + 1} of its chain`)),
    ...(stamp === undefined ? {} : { timestamp: bytesOf(stamp, 'its time stamp') }),
  };
}

/** Reads base64url without padding, in its only canonical form. */
function base64Url(text: unknown, what: string): Buffer {
  const bytes = typeof text === 'string' ? Buffer.from(text, 'base64url') : undefined;
  if (bytes === undefined || bytes.length === 0 || bytes.toString('base64url') !== text)
    throw new Error(`its ${what} is not base64url`);
  return bytes;
}

/** Reads RFC 3339; milliseconds since 1970. */
function timeIn(value: unknown, name: string): number {
  const time = readRfc3339(value);
  if (time === undefined) throw new Error(`its ${name} is not a time`);
  return time;
}

/** Reads base64 of certificates and timestamps in JSON: only the canonical form. */
function bytesOf(text: unknown, what: string): Buffer {
  const bytes = decodeBase64(text);
  if (bytes === undefined || bytes.length === 0) throw new Error(`${what} is not base64`);
  return bytes;
}
