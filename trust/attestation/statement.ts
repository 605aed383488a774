import { statementType } from '../evidence/cosign-names.ts';
import { parseStrictJson, recordOf, textsOf } from '../json/strict-json.ts';

/** The fields of an in-toto statement that the decision uses, and the whole statement for expressions. */
export interface Statement {
  readonly predicateType: string;
  /** `sha256:<hex>` of every subject that has one, with the annotations that were signed beside it. */
  readonly subjects: readonly {
    readonly digest: string;
    readonly annotations: Readonly<Record<string, string>>;
  }[];
  readonly predicate: unknown;
  /** The whole statement as signed. */
  readonly value: Readonly<Record<string, unknown>>;
}

/**
 * in-toto attestation specification, v0.1 and v1 (spec/v1/statement.md). cosign writes v0.1 in its older
 * form.
 */
const statementTypes: readonly unknown[] = [statementType, 'https://in-toto.io/Statement/v0.1'];
const maximumSubjects = 1000;

/**
 * Reads the payload of an envelope.
 * @throws Error with a sentence that names the mistake
 */
export function readStatement(payload: Uint8Array): Statement {
  const value = recordOf(parseStrictJson(payload));
  if (value === undefined || !statementTypes.includes(value['_type']))
    throw new Error('its payload is not an in-toto statement of version 1 or 0.1');
  const { predicateType, subject, predicate } = value;
  if (typeof predicateType !== 'string' || predicateType === '')
    throw new Error('its statement has no predicate type');
  if (!Array.isArray(subject) || subject.length === 0) throw new Error('its statement names no subject');
  if (subject.length > maximumSubjects)
    throw new Error(`its statement names more than ${maximumSubjects} subjects`);
  const subjects = subject.flatMap((entry: unknown) => {
    const hex = recordOf(recordOf(entry)?.['digest'])?.['sha256'];
    if (typeof hex !== 'string' || !/^[0-9a-f]{64}$/.test(hex)) return [];
    return [{ digest: `sha256:${hex}`, annotations: textsOf(recordOf(entry)?.['annotations']) }];
  });
  if (subjects.length === 0) throw new Error('its statement names no sha256 digest');
  return { predicateType, subjects, predicate, value };
}

/** Each requirement of a decision reads the same payload. The statement is kept as long as its envelope. */
const kept = new WeakMap<object, Statement | Error>();

/**
 * Returns the {@link readStatement} of an envelope's payload, read once.
 * @throws Error
 */
export function statementOf(envelope: { readonly payload: Uint8Array }): Statement {
  let statement = kept.get(envelope);
  if (statement === undefined) {
    try {
      statement = readStatement(envelope.payload);
    } catch (error) {
      statement = error as Error;
    }
    kept.set(envelope, statement);
  }
  if (statement instanceof Error) throw statement;
  return statement;
}
