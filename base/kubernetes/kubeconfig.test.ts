import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isPortcullisError } from '../errors/index.ts';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { readKubeconfig } from './kubeconfig.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-kubeconfig-'));
after(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'config');
makeCertificate(folder, 'c');
writeFileSync(join(folder, 'token'), 'first-token\n');
writeFileSync(join(folder, 'odd-token'), 'to\nken');
const base64 = (name: string): string => readFileSync(join(folder, name)).toString('base64');

const config = (cluster: string, user = '{}', rest = 'current-context: one'): string => `apiVersion: v1
kind: Config
preferences: {}
${rest}
contexts: [{ name: one, context: { cluster: c, user: u, namespace: x } }, { name: two, context: { cluster: c } }]
clusters: [{ name: c, cluster: ${cluster} }]
users: [{ name: u, user: ${user} }]
`;
const read = (text: string) => {
  writeFileSync(file, text);
  return readKubeconfig(file);
};
const server = 'server: "https://api.example.com:6443/k8s/c1"';

test('reads certificates and tokens from files relative to the kubeconfig, and inline', async () => {
  const files = await read(
    config(
      `{ ${server}, certificate-authority: c.pem, tls-server-name: kubernetes }`,
      '{ client-certificate: c.pem, client-key: c.key }',
    ),
  );
  assert.equal(files.server.href, 'https://api.example.com:6443/k8s/c1');
  const crt = readFileSync(join(folder, 'c.pem'), 'utf8');
  assert.deepEqual(files.tls, {
    ca: crt,
    cert: crt,
    key: readFileSync(join(folder, 'c.key'), 'utf8'),
    servername: 'kubernetes',
  });
  assert.equal(files.authorization, undefined);
  const data = await read(
    config(
      `{ ${server}, certificate-authority: nowhere, certificate-authority-data: ${base64('c.pem')}, tls-server-name: kubernetes }`,
      `{ client-certificate-data: ${base64('c.pem')}, client-key-data: ${base64('c.key')} }`,
    ),
  );
  assert.deepEqual(data, files);
});

test('a token file has precedence over a token, and a renewed file changes the access', async () => {
  const text = config(`{ ${server} }`, '{ token: fixed, tokenFile: token }');
  const first = await read(text);
  assert.equal(first.authorization, 'Bearer first-token');
  writeFileSync(join(folder, 'token'), 'second-token');
  const second = await readKubeconfig(file);
  assert.equal(second.authorization, 'Bearer second-token');
  assert.notEqual(first.id, second.id);
  assert.equal((await readKubeconfig(file)).id, second.id);
  assert.equal((await read(config(`{ ${server} }`, '{ token: fixed }'))).authorization, 'Bearer fixed');
  assert.equal((await read(config(`{ ${server} }`, '{}', 'current-context: two'))).authorization, undefined);
});

test('an error is reported with its position, an unsupported field by its name, and never a secret', async () => {
  const rows: readonly (readonly [code: string, why: RegExp, text: string])[] = [
    ['INVALID', /config:8:\d+|config:\d+:\d+: .*/u, 'a: [\n'],
    ['INVALID', /one document/u, ''],
    ['INVALID', /current-context is not set/u, config(`{ ${server} }`, '{}', 'current-context: ""')],
    [
      'INVALID',
      /:5:\d+: there is no context named "three" among contexts/u,
      config(`{ ${server} }`, '{}', 'current-context: three'),
    ],
    ['INVALID', /:6:\d+: the cluster has no server/u, config('{}')],
    ['INVALID', /:6:\d+: server must be an address/u, config('{ server: "api.example.com" }')],
    ['INVALID', /server must be a text/u, config('{ server: 7 }')],
    ['INVALID', /plain HTTP is allowed to loopback only/u, config('{ server: "http://api.example.com" }')],
    ['INVALID', /must not contain a user/u, config('{ server: "https://secret:secret@api.example.com" }')],
    ['INVALID', /must be given together/u, config(`{ ${server} }`, '{ client-certificate: c.pem }')],
    [
      'INVALID',
      /client-key is not a readable private key/u,
      config(`{ ${server} }`, '{ client-certificate: c.pem, client-key: token }'),
    ],
    [
      'INVALID',
      /certificate-authority contains no readable/u,
      config(`{ ${server}, certificate-authority: token }`),
    ],
    [
      'INVALID',
      /characters that are not allowed in a token/u,
      config(`{ ${server} }`, '{ tokenFile: odd-token }'),
    ],
    ['INVALID', /it must be a mapping/u, config('[]')],
    ['UNREADABLE', /gone, which it names: ENOENT/u, config(`{ ${server}, certificate-authority: gone }`)],
    [
      'UNSUPPORTED',
      /:6:\d+: the API server would not be verified/u,
      config(`{ ${server}, insecure-skip-tls-verify: true }`),
    ],
    ['UNSUPPORTED', /:6:\d+: proxy-url/u, config(`{ ${server}, proxy-url: "http://proxy.example.com" }`)],
    [
      'UNSUPPORTED',
      /:7:\d+: exec is not supported/u,
      config(`{ ${server} }`, '{ exec: { command: login } }'),
    ],
    ['UNSUPPORTED', /auth-provider/u, config(`{ ${server} }`, '{ auth-provider: { name: oidc } }')],
    ['UNSUPPORTED', /password/u, config(`{ ${server} }`, '{ password: secret }')],
    ['UNSUPPORTED', /as-groups/u, config(`{ ${server} }`, '{ as-groups: [secret] }')],
  ];
  for (const [code, why, text] of rows)
    await assert.rejects(read(text), (thrown: unknown) => {
      assert.ok(isPortcullisError(thrown), `${String(why)}: ${String(thrown)}`);
      assert.equal(thrown.code, `KUBERNETES_KUBECONFIG_${code}`, thrown.message);
      assert.match(thrown.failure.why, why);
      assert.doesNotMatch(thrown.message, /secret|first-token|second-token/u);
      return true;
    });
  await assert.rejects(readKubeconfig(join(folder, 'missing')), { code: 'KUBERNETES_KUBECONFIG_UNREADABLE' });
  assert.equal((await read(config('{ server: "http://127.0.0.1:8080" }'))).server.port, '8080');
});
