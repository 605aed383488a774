import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { explainPolicy } from '../policy/explain-policy.ts';
import { loadPolicy } from '../policy/load.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { explainReason } from '../verdict/explain-verdict.ts';
import { createAuthority, rootExtensions, signerExtensions } from './fixtures/authority.ts';
import type { Authority } from './fixtures/authority.ts';

describe('the requirement `notation` of a policy', () => {
  const folder = mkdtempSync(join(tmpdir(), 'notation-policy-'));
  const store = join(folder, 'truststore/x509/ca/k8s');
  let authority: Authority;

  before(() => {
    authority = createAuthority(join(folder, 'authority'));
    const root = authority.issue('root', { extensions: rootExtensions });
    authority.issue('middle', { extensions: rootExtensions, by: root });
    authority.issue('leaf', { extensions: signerExtensions, by: root });
    const place = (name: string, ...files: readonly string[]): void => {
      mkdirSync(join(folder, 'truststore/x509', name), { recursive: true });
      for (const file of files)
        copyFileSync(join(authority.folder, file), join(folder, 'truststore/x509', name, file));
    };
    place('ca/k8s', 'root.crt');
    place('ca/leaf', 'leaf.crt');
    place('ca/key', 'root.key');
    place('ca/empty');
    place('tsa/stamps', 'root.crt');
    place('tsa/middle', 'middle.crt');
    place('ca/linked');
    symlinkSync(join(authority.folder, 'root.crt'), join(folder, 'truststore/x509/ca/linked/root.crt'));
    place('ca/nested/below', 'root.crt');
    mkdirSync(join(folder, 'truststore/x509/ca/der'));
    writeFileSync(
      join(folder, 'truststore/x509/ca/der/root.cer'),
      authority.openssl('x509', '-in', 'root.crt', '-outform', 'DER'),
    );
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const load = async (requirement: string): Promise<TrustPolicy> => {
    const file = join(folder, 'policy.yaml');
    writeFileSync(
      file,
      `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require:\n      notation: ${requirement}\n`,
    );
    return (await loadPolicy({ paths: [file] })).policy;
  };

  it('names stores in PEM and DER, one or several, and files', async () => {
    for (const requirement of [
      '{ truststore: ca/k8s }',
      '{ truststore: "ca:k8s" }',
      '{ truststore: [ca/k8s, ca/der, tsa/stamps], level: permissive, override: { revocation: skip }, verifyTimestamp: afterCertExpiry }',
      '{ certificates: { ca: [authority/root.crt] }, identities: ["x509.subject: C=US, ST=WA, O=a\\\\,b"] }',
      `{ truststore: ca/k8s, folder: "${join(folder, 'truststore')}" }`,
    ]) {
      const policy = await load(requirement);
      assert.equal(policy.rules[0]?.require?.kind, 'notation', requirement);
    }
  });

  it('is explained with everything that it trusts', async () => {
    const explained = explainPolicy(
      await load('{ truststore: ca/k8s, level: audit, override: { expiry: enforce } }'),
      'example.com/app:1',
      '',
    );
    assert.match(
      explainReason(explained.reasons),
      /leads to ca\/k8s, by any identity \(level audit, expiry: enforce; its authenticity is only logged: images are admitted whoever signed them\)/,
    );
  });

  it('has every byte of its trust stores in the revision', async () => {
    const before = (await load('{ truststore: ca/k8s }')).revision;
    assert.equal((await load('{ truststore: ca/k8s }')).revision, before);
    appendFileSync(join(store, 'root.crt'), '\n');
    const changed = (await load('{ truststore: ca/k8s }')).revision;
    assert.notEqual(changed, before);
    copyFileSync(join(authority.folder, 'middle.crt'), join(store, 'more.crt'));
    assert.notEqual((await load('{ truststore: ca/k8s }')).revision, changed);
    rmSync(join(store, 'more.crt'));
  });

  for (const [name, requirement, says] of [
    ['no trust', '{ level: strict }', /6:17: .*names neither `truststore` nor `certificates`/],
    ['an unknown store', '{ truststore: ca/none }', /6:31: .*cannot be read: there is no such folder/],
    ['an empty store', '{ truststore: ca/empty }', /is empty/],
    [
      'a certificate that is not an anchor',
      '{ truststore: ca/leaf }',
      /neither belongs to an authority nor is self-signed/,
    ],
    ['a private key', '{ truststore: ca/key }', /contains a private key/],
    ['a link', '{ truststore: ca/linked }', /is a link/],
    ['a folder in a store', '{ truststore: ca/nested }', /is not a file/],
    [
      'a time stamping authority that is not a root',
      '{ truststore: [ca/k8s, tsa/middle] }',
      /6:40: .*not a self-signed root/,
    ],
    ['time stamping authorities alone', '{ truststore: tsa/stamps }', /time stamping authorities only/],
    ['a store outside', '{ truststore: ca/../../x }', /truststore/],
    ['a file that does not exist', '{ certificates: { ca: [none.crt] } }', /6:40: .*there is no such file/],
    [
      'an age without a time stamp',
      '{ truststore: ca/k8s, maxAge: 1d }',
      /6:39: .*nothing proves when it was signed.*name a trust store of type tsa/,
    ],
    ['the level skip', '{ truststore: ca/k8s, level: skip }', /level/],
    ['authenticity skipped', '{ truststore: ca/k8s, override: { authenticity: skip } }', /authenticity/],
    ['integrity overridden', '{ truststore: ca/k8s, override: { integrity: log } }', /integrity/],
    [
      'an identity of no type',
      '{ truststore: ca/k8s, identities: ["C=US, ST=WA, O=x"] }',
      /does not begin with "x509.subject:"/,
    ],
    [
      'an identity without state',
      '{ truststore: ca/k8s, identities: ["x509.subject: C=US, O=x"] }',
      /6:52: .*has no ST/,
    ],
    [
      'an identity twice',
      '{ truststore: ca/k8s, identities: ["x509.subject: C=US, ST=WA, O=x", "x509.subject: O=x, ST=WA, C=US, CN=y"] }',
      /overlaps/,
    ],
    [
      'a wildcard beside an identity',
      '{ truststore: ca/k8s, identities: ["*", "x509.subject: C=US, ST=WA, O=x"] }',
      /listed with other identities/,
    ],
    [
      'a joined attribute',
      '{ truststore: ca/k8s, identities: ["x509.subject: C=US+ST=WA, O=x"] }',
      /joins attributes/,
    ],
    ['a misspelt field', '{ truststores: ca/k8s }', /truststore/],
  ] as const)
    it(`is refused with its position: ${name}`, async () => {
      const error = await load(requirement).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      assert.ok(isPortcullisError(error), name);
      assert.equal(error.code, 'TRUST_POLICY_INVALID');
      assert.match(error.message, /policy\.yaml:6:\d+/);
      assert.match(error.message, says);
    });
});
