import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { attempt } from '../../base/errors/index.ts';
import { askHelper } from './credential-helper.ts';
import { credentialsOf } from './find-credentials.ts';

let folder = '';
const auth = (text: string): { auth: string } => ({ auth: Buffer.from(text).toString('base64') });

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'credentials-'));
  // The protocol: a verb as the only argument, the registry on standard input, JSON on standard output.
  await helper(
    'good',
    `printf '%s\\n' "$*" >> ${folder}/arguments; read -r host; case $host in
    helped.example) printf '{"ServerURL":"%s","Username":"from-helper","Secret":"s3cret"}' "$host";;
    https://index.docker.io/v1/) printf '{"Username":"<token>","Secret":"hub-token"}';;
    *) printf 'credentials not found in native keychain'; exit 1;; esac`,
  );
  await helper('broken', `printf 's3cret'; exit 3`);
  await helper('garbage', `printf '{"Username": s3cret'`);
  await helper('silent', 'exit 0');
  await helper('endless', 'while :; do printf %01000d 0; done');
});
after(() => rm(folder, { recursive: true }));

async function helper(name: string, script: string): Promise<void> {
  const path = join(folder, `docker-credential-${name}`);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
}

let count = 0;
async function find(file: unknown, registry: string, repository = 'team/app', at = 'docker/config.json') {
  const home = join(folder, `home-${(count += 1)}`);
  const environment = {
    HOME: home,
    PATH: `${folder}:/usr/bin:/bin`,
    DOCKER_CONFIG: join(home, 'docker'),
    XDG_CONFIG_HOME: join(home, 'config'),
    ...(at === 'only.json' ? { REGISTRY_AUTH_FILE: join(home, at) } : {}),
  };
  await mkdir(join(home, at, '..'), { recursive: true });
  await writeFile(join(home, at), typeof file === 'string' ? file : JSON.stringify(file));
  return credentialsOf(environment)({ registry, repository });
}

const user = { username: 'user', password: 'pass:word' };
const cases: readonly (readonly [
  says: string,
  file: unknown,
  registry: string,
  expected: unknown,
  at?: string,
])[] = [
  ['a host of auths', { auths: { 'a.example': auth('user:pass:word') } }, 'a.example', user],
  ['a host with a port', { auths: { 'a.example:5000': auth('user:pass:word') } }, 'a.example:5000', user],
  [
    'another port is another registry',
    { auths: { 'a.example:5000': auth('user:pass:word') } },
    'a.example',
    undefined,
  ],
  [
    'a host as old versions of Docker write it',
    { auths: { 'https://a.example/v1/': auth('user:pass:word') } },
    'a.example',
    user,
  ],
  ['Docker Hub', { auths: { 'https://index.docker.io/v1/': auth('user:pass:word') } }, 'docker.io', user],
  ['padding after the password', { auths: { 'a.example': auth('user:pass:word\0\0') } }, 'a.example', user],
  ['plain user name and password', { auths: { 'a.example': user } }, 'a.example', user],
  [
    'an identity token',
    { auths: { 'a.example': { ...auth('user:'), identitytoken: 'it' } } },
    'a.example',
    { identityToken: 'it' },
  ],
  [
    'a registry token',
    { auths: { 'a.example': { registrytoken: 'rt' } } },
    'a.example',
    { registryToken: 'rt' },
  ],
  [
    'a namespace before its registry',
    { auths: { 'a.example/team': auth('user:pass:word'), 'a.example': auth('x:y') } },
    'a.example',
    user,
  ],
  [
    'no credentials for another namespace',
    { auths: { 'a.example/other': auth('user:pass:word') } },
    'a.example',
    undefined,
  ],
  ['an empty entry', { auths: { 'a.example': {} } }, 'a.example', undefined],
  [
    'a helper of one host',
    { credHelpers: { 'helped.example': 'good' } },
    'helped.example',
    { username: 'from-helper', password: 's3cret' },
  ],
  [
    'a helper of all',
    { credsStore: 'good' },
    'helped.example',
    { username: 'from-helper', password: 's3cret' },
  ],
  ['a token of a helper', { credsStore: 'good' }, 'docker.io', { identityToken: 'hub-token' }],
  [
    'auths when the helper has no credentials',
    { credsStore: 'good', auths: { 'a.example': auth('user:pass:word') } },
    'a.example',
    user,
  ],
  ['no helper for another host', { credHelpers: { 'helped.example': 'broken' } }, 'a.example', undefined],
  ['REGISTRY_AUTH_FILE', { auths: { 'a.example': auth('user:pass:word') } }, 'a.example', user, 'only.json'],
  [
    "containers' auth.json",
    { auths: { 'a.example': auth('user:pass:word') } },
    'a.example',
    user,
    'config/containers/auth.json',
  ],
];

for (const [says, file, registry, expected, at] of cases) {
  test(`credentials: ${says}`, async () => {
    assert.deepEqual(await find(file, registry, 'team/app', at), expected);
  });
}

test('a helper gets its verb as the only argument', async () => {
  await find({ credsStore: 'good' }, 'helped.example');
  assert.deepEqual(
    [...new Set((await readFile(join(folder, 'arguments'), 'utf8')).trim().split('\n'))],
    ['get'],
  );
});

for (const [name, says] of [
  ['broken', /exit code 3/],
  ['garbage', /its answer is not JSON/],
  ['silent', /its answer is not JSON/],
  ['endless', /longer than the limit/],
  ['absent', /there is no such program/],
  ['../evil', /is not valid for a credential helper/],
] as const) {
  test(`the error for the helper "${name}" names the helper, and quotes nothing of its output`, async () => {
    await assert.rejects(find({ credsStore: name }, 'a.example'), (error: Error) => {
      assert.match(error.message, says);
      assert.match(error.message, /TRUST_CREDENTIAL_HELPER/);
      assert.doesNotMatch(error.message, /s3cret/);
      return true;
    });
  });
}

test('a helper whose own child holds its output does not hold the command', async () => {
  await helper('hanging', 'sleep 30');
  const begun = performance.now();
  await assert.rejects(
    askHelper('hanging', 'a.example', { PATH: `${folder}:/usr/bin:/bin` }, 300),
    /it did not answer within 0\.3 seconds.*TRUST_CREDENTIAL_HELPER/,
  );
  assert.ok(performance.now() - begun < 10_000);
});

test('a helper that is killed leaves no program that it started', async (context) => {
  const file = join(folder, 'started');
  await helper('parent', `sleep 300 & echo $! > "${file}"; while :; do printf %01000d 0; done`);
  await assert.rejects(
    askHelper('parent', 'a.example', { PATH: `${folder}:/usr/bin:/bin` }),
    /longer than the limit/,
  );
  const started = (await readFile(file, 'utf8')).trim();
  context.after(() => attempt(() => process.kill(Number(started), 'SIGKILL')));
  await context.waitFor(
    async () => {
      const stat = await readFile(`/proc/${started}/stat`, 'latin1').catch(() => ') Z');
      assert.match(stat, /\) Z/u);
    },
    { timeout: 20_000 },
  );
});

test('a helper gets the environment without the passphrases of signing keys', async () => {
  await helper('curious', `env > "${folder}/environment"; printf '{"Username":"a","Secret":"b"}'`);
  await askHelper('curious', 'a.example', {
    PATH: `${folder}:/usr/bin:/bin`,
    AWS_PROFILE: 'release',
    PORTCULLIS_PASSPHRASE: 's3cret',
    PORTCULLIS_ROOT_PASSPHRASE: 's3cret',
    NOTARY_TARGETS_PASSPHRASE: 's3cret',
    COSIGN_PASSWORD: 's3cret',
  });
  const seen = await readFile(join(folder, 'environment'), 'utf8');
  assert.match(seen, /AWS_PROFILE=release/);
  assert.doesNotMatch(seen, /s3cret/);
});

test('the error for a file that is not JSON names the file, and none of its content', async () => {
  await assert.rejects(find('{"auths": {"a": {"auth": "c2VjcmV0', 'a.example'), (error: Error) => {
    assert.match(error.message, /it is not JSON.*TRUST_DOCKER_CONFIG/);
    assert.doesNotMatch(error.message, /c2VjcmV0/);
    return true;
  });
});
