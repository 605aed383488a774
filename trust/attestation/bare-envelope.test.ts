import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyOf } from '../evidence/fixtures/fixture-image.ts';
import { bundleOf, decided, foreign, ours } from '../evidence/fixtures/sample-evidence.ts';
import type { EvidenceItem } from '../findings/types.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { bareEnvelope, demand, envelope, statementText } from './fixtures/sample-attestations.ts';

interface Bare {
  readonly payload: string;
  readonly payloadType: string;
  readonly signatures: readonly { readonly sig: string }[];
}

/** The text makes the base64 of the payload contain both characters that the alphabets write differently. */
const text = statementText({ a: 'a?b>c~?>ÿþ', b: '>>>???' });

function bareBy(key = ours): Bare {
  return JSON.parse(Buffer.from(envelope(text, [key]).bytes ?? '', 'base64').toString()) as Bare;
}

const forUrls = (base64: string): string => base64.replaceAll('+', '-').replaceAll('/', '_');
const sigOf = (key = ours): { readonly sig: string } => ({ sig: bareBy(key).signatures[0]?.sig ?? '' });

function answer(item: EvidenceItem): string {
  const verdict = decided([item], policyOf({ require: demand() }));
  return `${verdict.outcome} ${explainVerdict(verdict)}`;
}

const table: readonly (readonly [name: string, changes: object, says: RegExp])[] = [
  ['the alphabet for URLs', { payload: forUrls(bareBy().payload) }, /^admit /],
  [
    'a field of another tool',
    { signatures: [{ ...sigOf(), certificate: 'x', intermediates: [] }] },
    /^admit /,
  ],
  ['a placeholder without signature', { signatures: [{ keyid: 'a', sig: '' }, sigOf()] }, /^admit /],
  ['a signature that cannot be read', { signatures: [{ sig: '?' }, sigOf()] }, /^admit /],
  ['only a placeholder', { signatures: [{ keyid: 'a', sig: '' }] }, /^deny [^]*sig is missing or not base64/],
  ['no object as signature', { signatures: ['x', 7, null] }, /^deny [^]*sig is missing or not base64/],
  [
    'a placeholder beside the signature of another key',
    { signatures: [{ sig: '' }, sigOf(foreign)] },
    /^deny /,
  ],
  ['another payload', { payload: Buffer.from(statementText({ a: 1 })).toString('base64') }, /^deny /],
];

for (const [name, changes, says] of table)
  test(`a bare envelope with ${name}`, () =>
    assert.match(answer(bareEnvelope({ ...bareBy(), ...changes })), says));

test('an envelope in a bundle may use the alphabet for URLs, too, but has exactly the known fields', () => {
  assert.match(bareBy().payload, /[+/]/);
  const inBundle = (change: (bare: Bare) => object): EvidenceItem => ({
    ...bundleOf((json) => Object.assign(json, { dsseEnvelope: change(bareBy()) })),
    kind: 'attestation',
  });
  const encoded = inBundle(({ payload, payloadType, signatures }) => ({
    payload: forUrls(payload),
    payloadType,
    signatures: signatures.map(({ sig }) => ({ sig: forUrls(sig) })),
  }));
  assert.match(answer(encoded), /^admit /);
  assert.match(
    answer(inBundle((bare) => ({ ...bare, signatures: [{ ...sigOf(), certificate: 'x' }] }))),
    /^deny [^]*unknown field "certificate"/,
  );
});
