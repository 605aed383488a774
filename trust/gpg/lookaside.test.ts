import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { sha256Digest } from '../json/canonical-json.ts';
import { gather } from '../gathering/gather.ts';
import { defaultLimits } from '../evidence/limits.ts';
import { loadPolicy } from '../policy/load.ts';
import type { Dossier, Verdict } from '../findings/types.ts';
import { decide } from '../verdict/decide.ts';

const fixture = (name: string): Buffer => readFileSync(join(import.meta.dirname, 'fixtures', name));
const digest = sha256Digest(fixture('manifest'));
const reference = 'registry.example.com/pay/app:1';
const now = new Date('2026-11-20T15:00:00Z');
const folder = mkdtempSync(join(tmpdir(), 'pc-lookaside-'));
after(() => rmSync(folder, { recursive: true, force: true }));
copyFileSync(join(import.meta.dirname, 'fixtures', 'rsa2048.asc'), join(folder, 'key.asc'));

async function ask(require: string, limits = defaultLimits): Promise<{ dossier: Dossier; verdict: Verdict }> {
  const file = join(folder, 'policy.yaml');
  const rule = `  - images: ["registry.example.com/**"]\n    require: { gpg: { keys: [key.asc], ${require} } }\n`;
  writeFileSync(
    file,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\nrules:\n${rule}`,
  );
  const { policy } = await loadPolicy({ paths: [file] });
  const dossier = await gather(
    { reference, digest, manifestDigest: digest, repositories: [repository], policy, now },
    limits,
  );
  const platform = { os: 'linux', architecture: 'amd64' };
  return { dossier, verdict: decide({ dossier, reference, namespace: '', platform, policy, now }) };
}

/** A gathering sends no request for GPG signatures to a registry, but visits each repository once. */
const repository = { host: 'registry.example.com', repository: 'pay/app' } as Parameters<
  typeof gather
>[0]['repositories'][number];

async function served<T>(
  answer: (path: string, response: ServerResponse) => void,
  act: (url: string, asked: string[]) => Promise<T>,
): Promise<T> {
  const asked: string[] = [];
  const server = createHttpServer((request, response) => {
    asked.push(request.url ?? '');
    answer(request.url ?? '', response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await act(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const place = `/sigstore/pay/app@${digest.replace(':', '=')}`;

test('signatures are read from a folder, one after another, until one does not exist', async () => {
  const store = join(folder, `store/pay/app@${digest.replace(':', '=')}`);
  mkdirSync(store, { recursive: true });
  copyFileSync(join(import.meta.dirname, 'fixtures', 'ed25519.signature'), join(store, 'signature-1'));
  copyFileSync(join(import.meta.dirname, 'fixtures', 'rsa2048.signature'), join(store, 'signature-2'));
  copyFileSync(join(import.meta.dirname, 'fixtures', 'rsa4096.signature'), join(store, 'signature-4'));
  for (const lookaside of ['store', join(folder, 'store'), `file://${join(folder, 'store')}/`]) {
    const { dossier, verdict } = await ask(`lookaside: "${lookaside}"`);
    assert.equal(dossier.items.length, 2);
    assert.equal(verdict.outcome, 'admit', JSON.stringify(verdict.reasons));
  }
});

test('signatures are read over http, also behind a redirect', async () => {
  await served(
    (path, response) => {
      if (path === `${place}/signature-1`) response.writeHead(302, { location: '/elsewhere' }).end();
      else if (path === '/elsewhere') response.end(fixture('rsa2048.signature'));
      else response.writeHead(404).end();
    },
    async (url, asked) => {
      const { verdict } = await ask(`lookaside: "${url}/sigstore/"`);
      assert.equal(verdict.outcome, 'admit');
      assert.deepEqual(asked, [`${place}/signature-1`, '/elsewhere', `${place}/signature-2`]);
    },
  );
});

test('the name in a signature counts: another identity does not admit, unless the policy names it', async () => {
  await served(
    (path, response) =>
      path.endsWith('signature-1')
        ? response.end(fixture('rsa2048.signature'))
        : response.writeHead(404).end(),
    async (url) => {
      const outcome = async (identity: string): Promise<string> =>
        (await ask(`lookaside: "${url}", signedIdentity: ${identity}`)).verdict.outcome;
      assert.equal(await outcome('{ type: matchExact }'), 'admit');
      assert.equal(
        await outcome('{ type: exactRepository, dockerRepository: registry.example.com/other }'),
        'deny',
      );
      assert.equal(
        await outcome(
          '{ type: remapIdentity, prefix: registry.example.com, signedPrefix: other.example.com }',
        ),
        'deny',
      );
    },
  );
});

const faults: readonly (readonly [
  what: string,
  answer: (response: ServerResponse) => void,
  outcome: 'deny' | 'undecided',
])[] = [
  ['an error', (response) => response.writeHead(500).end(), 'undecided'],
  ['no permission', (response) => response.writeHead(403).end(), 'undecided'],
  ['a broken connection', (response) => response.destroy(), 'undecided'],
  [
    'an answer that ends early',
    (response) =>
      void response.writeHead(200, { 'content-length': 1000 }).write('x', () => response.destroy()),
    'undecided',
  ],
  ['no answer', () => undefined, 'undecided'],
  ['a redirect to itself', (response) => response.writeHead(302, { location: '/' }).end(), 'undecided'],
  [
    'a redirect to a file',
    (response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    'undecided',
  ],
  [
    'a web page',
    (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html></html>'),
    'deny',
  ],
  ['nothing', (response) => response.end(), 'deny'],
  ['too much', (response) => response.end(Buffer.alloc(2 * 1024 * 1024)), 'deny'],
  [
    'noise',
    (response) => response.end(Buffer.from(Array.from({ length: 1000 }, (_, index) => (index * 7919) % 256))),
    'deny',
  ],
];
for (const [what, answer, outcome] of faults) {
  test(`a lookaside that answers with ${what}: ${outcome}`, async () => {
    await served(
      (path, response) => {
        if (path.endsWith('signature-1') || !path.includes('signature')) answer(response);
        else response.writeHead(404).end();
      },
      async (url) => {
        const { verdict } = await ask(`lookaside: "${url}"`, { ...defaultLimits, milliseconds: 1000 });
        assert.equal(verdict.outcome, outcome, JSON.stringify(verdict.reasons));
      },
    );
  });
}

test('an endless lookaside is read up to the limit, and the verdict is then undecided', async () => {
  await served(
    (_path, response) => response.end(fixture('ed25519.signature')),
    async (url, asked) => {
      const { dossier, verdict } = await ask(`lookaside: "${url}"`, { ...defaultLimits, items: 5 });
      assert.equal(dossier.items.length, 5);
      assert.equal(asked.length, 6);
      assert.equal(verdict.outcome, 'undecided');
    },
  );
});

const wrong: readonly (readonly [require: string, says: RegExp])[] = [
  ['lookaside: "ftp://host/x"', /policy\.yaml:6:\d+.*"ftp:" is not supported/s],
  ['lookaside: "https://user:secret@host/x"', /must not contain a user name or a password/],
  ['lookaside: "https://host/x?y"', /"\?" or "#"/],
  ['signedIdentity: { type: matchSomething }', /signedIdentity/],
];
for (const [require, says] of wrong) {
  test(`a policy with ${require} is refused with its position`, async () => {
    await assert.rejects(
      ask(require),
      (error: unknown) =>
        isPortcullisError(error) && says.test(error.message) && !error.message.includes('secret@'),
    );
  });
}

test('key files that are missing or hold no keys are refused with their position', async () => {
  const file = join(folder, 'keys.yaml');
  writeFileSync(join(folder, 'no-key.gpg'), 'nothing');
  const rule = '  - images: ["**"]\n    require: { gpg: { keys: [nowhere.gpg, no-key.gpg] } }\n';
  writeFileSync(file, `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n${rule}`);
  await assert.rejects(
    loadPolicy({ paths: [file] }),
    /keys\.yaml:5:30.*there is no such file[\s\S]*keys\.yaml:5:43.*neither OpenPGP packets/,
  );
});
