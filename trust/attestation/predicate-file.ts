import { isUtf8 } from 'node:buffer';
import { PortcullisError, reasonOf, fileReason, orThrow } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';
import { parseDocuments } from '../../base/schema/index.ts';
import { parseStrictJson } from '../json/strict-json.ts';
import { predicateFlaw } from './predicate-minimum.ts';
import { entitlementsPredicateType, predicateTypeOf, requirePredicateType } from './predicate-types.ts';

/** The content of an attestation of the largest `maxSize`: base64 makes four bytes of three. */
export const maximumPredicateBytes = 47 * 1024 * 1024;

/** Whether a predicate of this type is a profile. @param type the short name or the URI */
export function isEntitlementsType(type: string): boolean {
  return predicateTypeOf(type) === entitlementsPredicateType;
}

/**
 * Reads the predicate to attest, as JSON. A number that a double cannot hold is kept as it is written, for
 * `JSON.stringify`. As in `cosign attest`, `spdx` may be text, and a predicate for
 * `custom` is wrapped with its time. A predicate of a known type has the fields that the type requires.
 * `entitlements` is a document of kind EntitlementProfile, which may also
 * be YAML.
 * @param given the content, if it was read already
 * @throws PortcullisError `TRUST_PREDICATE_UNREADABLE`, `TRUST_PREDICATE_TYPE`
 */
export async function readPredicate(file: string, type: string, now: Date, given?: Buffer): Promise<unknown> {
  const fail = (why: string, fix = 'name a JSON file'): PortcullisError =>
    new PortcullisError({
      code: 'TRUST_PREDICATE_UNREADABLE',
      kind: 'invalid',
      attempted: 'read predicate',
      on: file,
      why,
      fix,
    });
  requirePredicateType(type);
  const bytes: Buffer = await orThrow(
    async () => given ?? (await readGivenFile(file, maximumPredicateBytes)),
    (error) => fail(fileReason(error, file)),
  );
  // A pipe whose writer failed is empty, and `custom` and `spdx` accept any text.
  if (bytes.length === 0) throw fail('it is empty', 'name a file with the predicate');
  if (isEntitlementsType(type)) {
    const { documents, problems } = parseDocuments(bytes.toString('utf8'), file);
    const [document] = documents;
    if (document === undefined || documents.length > 1 || problems.length > 0)
      throw fail(
        'it does not contain exactly one document',
        'name a file with one document of kind EntitlementProfile',
      );
    return document.value;
  }
  const text = (): string => {
    if (!isUtf8(bytes)) throw fail('it is not UTF-8', 'name a file with text');
    return bytes.toString('utf8');
  };
  if (type === 'custom') return { Data: text(), Timestamp: now.toISOString().replace(/\.\d+Z$/, 'Z') };
  let predicate: unknown;
  try {
    predicate = parseStrictJson(bytes);
  } catch (error) {
    if (type === 'spdx' && /^SPDXVersion:/m.test(text())) return text();
    throw fail(reasonOf(error));
  }
  const flaw = predicateFlaw(type, predicate);
  if (flaw !== undefined) throw fail(flaw, 'name a file of this type, or another type: --type URI');
  return mayRound.test(text()) ? parseStrictJson(bytes, keepWritten) : predicate;
}

/** A number with many digits, or with an exponent: JavaScript may hold another one. */
const mayRound = /(?:^|[[:,\s])-?(?:\d[\d.]{15}|\d[\d.]*[eE])/u;

function keepWritten(_key: string, value: unknown, { source }: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || source === undefined || String(value) === source) return value;
  // TypeScript's library does not declare it yet.
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(source);
}
