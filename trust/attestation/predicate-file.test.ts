import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attestationPayload } from '../signing/attest-image.ts';
import { readPredicate } from './predicate-file.ts';

const type = 'https://example.com/tested/v1';

test('a statement is signed with the numbers that the file has', async () => {
  const text = '{"at":1712345678901234567,"share":0.12345678901234567,"most":1e400,"count":1}';
  const predicate = await readPredicate('-', type, new Date(), Buffer.from(text));
  const payload = attestationPayload('app', [`sha256:${'a'.repeat(64)}`], type, predicate).toString();
  assert.ok(payload.endsWith(`"predicate":${text}}`), payload);
});

test('an unknown type is refused before the file is read, and before anybody is asked for a passphrase', async () => {
  await assert.rejects(readPredicate('/nonexistent/predicate.json', 'slsa-provenance', new Date()), {
    code: 'TRUST_PREDICATE_TYPE',
  });
});
