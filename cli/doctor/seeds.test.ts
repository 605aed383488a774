import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sigstoreSeeds } from '../../trust/sigstore/index.ts';
import { seedFindings } from './seeds.ts';

const day = 24 * 3600 * 1000;
const at = async (
  days: number,
  name = 'public-good',
): Promise<{ readonly state: string; readonly text: string }> => {
  const seeds = await sigstoreSeeds();
  const seed = seeds.find((one) => one.name === name);
  assert.ok(seed !== undefined);
  const finding = seedFindings([seed], new Date(seed.expires - days * day))[0];
  return { state: finding?.state ?? '', text: JSON.stringify(finding) };
};

for (const name of ['public-good', 'staging']) {
  test(`the seed ${name} is reported 59 days before it expires, with what to do, and not 61 days before`, async () => {
    assert.equal((await at(61, name)).state, 'fine');
    const { state, text } = await at(59, name);
    assert.equal(state, 'degraded');
    assert.match(text, /59 days.*portcullis sigstore-root update/);
    const ended = await at(-1, name);
    assert.equal(ended.state, 'degraded');
    assert.match(ended.text, /ended on/);
  });
}

test('seeds that end within 60 days are reported here, too', async (t) => {
  const findings = seedFindings(await sigstoreSeeds(), new Date());
  assert.deepEqual(
    findings.map(({ topic }) => topic),
    ['sigstore seed public-good', 'sigstore seed staging'],
  );
  // The passage of time alone must not fail a test. A maintainer who reads the diagnostic updates
  // @sigstore/tuf.
  for (const { state, topic, found } of findings)
    if (state !== 'fine') t.diagnostic(`${topic}: ${found}; update @sigstore/tuf`);
});
