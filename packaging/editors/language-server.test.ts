import assert from 'node:assert/strict';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { after, before, describe, it } from 'node:test';
import { catalogEntries } from './catalog.ts';
import { startLanguageServer } from './language-client.fixture.ts';
import type { LanguageServer } from './language-client.fixture.ts';

const schemas = join(import.meta.dirname, '../../docs/schemas');
const head = 'apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\n';

describe('the YAML language server with the published schemas', () => {
  let server: LanguageServer;
  before(async () => {
    const byFile = catalogEntries().map(({ url, fileMatch }) => [
      pathToFileURL(join(schemas, basename(url))).href,
      fileMatch,
    ]);
    server = await startLanguageServer({
      ...{ validate: true, hover: true, completion: true, schemaStore: { enable: false } },
      schemas: Object.fromEntries(byFile) as object,
    });
  });
  after(() => server.close());

  it('finds nothing in a valid policy', async () => {
    const text = `${head}rules:\n  - images: ['registry.example.com/**']\n    require: { cosign: { key: team.pub } }\n`;
    assert.deepEqual(await server.open('file:///valid.trustpolicy.yaml', text), []);
  });

  it('reports a wrong key of a policy at its place', async () => {
    const text = `${head}rules:\n  - images: ['**']\n    alow: unverified\n`;
    const found = await server.open('file:///wrong.trustpolicy.yaml', text);
    const [one] = found.filter(({ message }) => /alow/u.test(message));
    assert.deepEqual(one?.range.start, { line: 4, character: 4 }, JSON.stringify(found));
  });

  it('reports a wrong key of a profile', async () => {
    const text = `apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: web }\ncapabilitys: {}\n`;
    const found = await server.open('file:///web.entitlementprofile.yaml', text);
    assert.ok(
      found.some(({ message }) => /capabilitys/u.test(message)),
      JSON.stringify(found),
    );
  });

  it('reports a wrong value of the configuration', async () => {
    const found = await server.open('file:///etc/portcullis/config.yaml', 'socket: 5\n');
    assert.ok(
      found.some(({ message }) => /string/u.test(message)),
      JSON.stringify(found),
    );
  });

  it('completes the keys of a policy', async () => {
    const uri = 'file:///complete.trustpolicy.yaml';
    await server.open(uri, `${head}rules:\n  - images: ['**']\n    \n`);
    const answer = await server.ask('textDocument/completion', {
      textDocument: { uri },
      position: { line: 4, character: 4 },
    });
    const { items } = answer as { items: readonly { label: string }[] };
    const labels = items.map(({ label }) => label);
    for (const key of ['require', 'allow', 'deny', 'except'])
      assert.ok(labels.includes(key), labels.join(' '));
  });

  it('explains a key where the pointer is', async () => {
    const uri = 'file:///hover.trustpolicy.yaml';
    await server.open(uri, `${head}mode: report\nrules:\n  - images: ['**']\n    deny: closed\n`);
    const answer = await server.ask('textDocument/hover', {
      textDocument: { uri },
      position: { line: 2, character: 1 },
    });
    assert.match(JSON.stringify(answer), /only reported/u);
  });
});
