import assert from 'node:assert/strict';
import { test } from 'node:test';
import { importNotation } from './import.ts';

const statement = (name: string, scope: string, level: string): object => ({
  name,
  registryScopes: [scope],
  signatureVerification: { level },
  ...(level === 'skip' ? {} : { trustStores: ['ca:one'], trustedIdentities: ['*'] }),
});

/** Returns the rules for a statement that applies to one repository, beside a strict one for all others. */
function rulesFor(scope: string, level: string): readonly string[] {
  const trustPolicies = [statement('one', scope, level), statement('all', '*', 'strict')];
  const { rules, unmapped } = importNotation(JSON.stringify({ version: '1.0', trustPolicies }), {
    file: 'trustpolicy.json',
    truststoreFolder: 'truststore',
  });
  return [
    ...rules.map(({ rule: { images, except = [], allow = 'verified' } }) =>
      JSON.stringify([images, except, allow]),
    ),
    ...unmapped.map(({ path, became }) => `${path}: ${became}`),
  ];
}

test('a repository whose verification is skipped is excepted from the statement for all others', () => {
  assert.deepEqual(rulesFor('r.example/app', 'skip'), [
    '[["r.example/app"],[],"unverified"]',
    '[["**"],["r.example/app"],"verified"]',
  ]);
});

for (const scope of ['R.example/app', 'r.example:0443/app'])
  test(`the verification of ${scope} is not skipped for the usual form of the name`, () => {
    assert.deepEqual(rulesFor(scope, 'skip'), [
      '[["**"],[],"verified"]',
      'trustPolicies[0].registryScopes[0]: the level skip has no effect for it',
    ]);
  });

test('a host in another form than in references is also subject to the statement for all others', () => {
  assert.deepEqual(rulesFor('R.example/app', 'permissive'), [
    '[["r.example/app"],[],"verified"]',
    '[["**"],[],"verified"]',
  ]);
});
