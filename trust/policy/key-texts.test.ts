import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadSigningKey } from '../keys/private-key.ts';
import { loadPolicy, readPublicKeyFile } from './load.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-key-texts-'));
after(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'policy.yaml');

const secret = 'c2VjcmV0c2VjcmV0';
const block = `-----BEGIN PRIVATE KEY-----\n${secret}\n-----END PRIVATE KEY-----\n`;

/** As the policies of other tools have keys: PEM, and PEM in base64. */
for (const [form, text] of [
  ['PEM', block],
  ['base64', Buffer.from(block).toString('base64')],
] as const)
  for (const [field, requirement] of [
    ['cosign.key', { cosign: { key: text } }],
    ['gpg.keys[0]', { gpg: { keys: [text] } }],
    ['pki.roots', { pki: { roots: text, email: 'a@example.com' } }],
    ['pki.intermediates', { pki: { roots: text, intermediates: text, email: 'a@example.com' } }],
    ['notation.certificates.ca[0]', { notation: { certificates: { ca: [text] } } }],
    ['sigstore.root', { sigstore: { issuer: 'https://i.example', subject: 'a', root: text } }],
    ['cosign.log.root', { cosign: { key: 'a.pub', log: { root: text } } }],
    ['tuf.root', { tuf: { service: 'https://t.example', root: text } }],
    ['tuf.ca', { tuf: { service: 'https://t.example', root: 'root.json', ca: text } }],
  ] as const)
    test(`a key in ${form} instead of the file in ${field} is refused without its text`, async () => {
      const rules = [{ images: ['r.example/**'], require: requirement }];
      writeFileSync(
        file,
        JSON.stringify({
          apiVersion: 'portcullis.dev/v1alpha1',
          kind: 'TrustPolicy',
          default: 'deny',
          rules,
        }),
      );
      await assert.rejects(loadPolicy({ paths: [file] }), ({ message }: Error) => {
        assert.ok(
          message.includes(
            `require.${field}: this is the text of a key or certificate, and not the name of its file`,
          ),
          message,
        );
        assert.ok(![secret, text].some((each) => message.includes(each)), message);
        return true;
      });
    });

for (const [what, read] of [
  ['sign', (key: string) => loadSigningKey(key, { environment: {} })],
  ['verify', readPublicKeyFile],
] as const)
  test(`${what} --key refuses a key instead of its file without its text`, async () => {
    for (const key of [block, block.trimEnd(), Buffer.from(block).toString('base64')])
      await assert.rejects(read(key), ({ message }: Error) => {
        assert.match(message, /from the text of a key: the name of its file is expected; write the text/u);
        assert.ok(![secret, key].some((each) => message.includes(each)), message);
        return true;
      });
  });
