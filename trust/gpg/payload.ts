import { parseStrictJson, recordOf } from '../json/strict-json.ts';

/** The content of a GPG simple signature: containers-signature(5). */
export interface SimpleSigningPayload {
  readonly digest: string;
  /** The docker-reference: the name that the signer gives the image. */
  readonly reference: string;
  /** The texts of `optional`: `creator` and the additions of the signer. */
  readonly optional: Readonly<Record<string, string>>;
  /** Seconds since 1970, as claimed by the signer. */
  readonly timestamp?: number;
}

const payloadType = 'atomic container signature';

/**
 * Reads the signed JSON as strictly as the containers image library: exactly the known fields outside
 * `optional`, none twice.
 * @throws Error that states the fault
 */
export function readPayload(bytes: Uint8Array): SimpleSigningPayload {
  const { critical, optional } = exactly(parseStrictJson(bytes), ['critical', 'optional'], 'the payload');
  const { type, image, identity } = exactly(critical, ['type', 'image', 'identity'], '"critical"');
  const { 'docker-manifest-digest': digest } = exactly(image, ['docker-manifest-digest'], '"critical.image"');
  const { 'docker-reference': reference } = exactly(identity, ['docker-reference'], '"critical.identity"');
  if (type !== payloadType) throw new Error(`the payload's type is not "${payloadType}"`);
  if (
    typeof digest !== 'string' ||
    !/^sha(256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})$/.test(digest)
  )
    throw new Error('the payload names no digest of an image');
  if (typeof reference !== 'string') throw new Error('the payload names no image');
  const more = recordOf(optional);
  if (more === undefined) throw new Error('"optional" of the payload is not an object');
  const { creator, timestamp } = more;
  if (creator !== undefined && typeof creator !== 'string')
    throw new Error('"optional.creator" of the payload is not a string');
  if (timestamp !== undefined && !Number.isInteger(timestamp))
    throw new Error('"optional.timestamp" of the payload is not a whole number');
  const texts = Object.entries(more).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return {
    digest,
    reference,
    optional: Object.fromEntries(texts),
    ...(typeof timestamp === 'number' ? { timestamp } : {}),
  };
}

function exactly(value: unknown, fields: readonly string[], what: string): Readonly<Record<string, unknown>> {
  const record = recordOf(value);
  if (record === undefined) throw new Error(`${what} is not an object`);
  const unknown = Object.keys(record).find((field) => !fields.includes(field));
  if (unknown !== undefined)
    throw new Error(`${what} has the unknown field ${JSON.stringify(unknown.slice(0, 100))}`);
  const missing = fields.find((field) => !Object.hasOwn(record, field));
  if (missing !== undefined) throw new Error(`${what} has no "${missing}"`);
  return record;
}
