import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Updater } from 'tuf-js';
import { isPortcullisError } from '../../base/errors/index.ts';
import { fileOf, testKey, testRepository, written } from '../tuf/fixtures/repository.fixture.ts';
import type { TestRepository } from '../tuf/fixtures/repository.fixture.ts';
import { testService } from '../tuf/fixtures/served-repository.fixture.ts';
import { topRoles } from '../tuf-metadata/model.ts';
import { downloadTargets, initialiseTuf, refreshTuf } from './folder-client.ts';

const home = await mkdtemp(join(tmpdir(), 'tuf-client-'));
after(() => rm(home, { recursive: true }));
let count = 0;
const folder = async (): Promise<string> => {
  const made = join(home, String((count += 1)));
  await mkdir(made);
  return made;
};
const image = 'r.example/app';
const expired = '2020-01-01T00:00:00Z';

/** Returns a repeatable pseudo-random number generator (mulberry32). */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** The next action of a repository, or of an attacker between it and the client. */
type Step = (repository: TestRepository, random: (below: number) => number) => void;

const signingRoles = ['timestamp', 'snapshot', 'targets'] as const;
const steps: Readonly<Record<string, Step>> = {
  publishes(repository) {
    for (const role of signingRoles) repository.versions[role] = (repository.versions[role] ?? 1) + 1;
  },
  'publishes a timestamp'(repository) {
    repository.versions['timestamp'] = (repository.versions['timestamp'] ?? 1) + 1;
  },
  'goes back'(repository, random) {
    const role = signingRoles[random(3)] ?? 'targets';
    repository.versions[role] = Math.max(1, (repository.versions[role] ?? 1) - 1);
  },
  'lets a role end'(repository, random) {
    repository.expires[topRoles[random(4)] ?? 'root'] = expired;
  },
  'lets everything stand'(repository) {
    repository.expires = {};
    delete repository.signers;
  },
  'signs with another key'(repository, random) {
    repository.signers = { [signingRoles[random(3)] ?? 'targets']: [testKey('tuf')] };
  },
  'has a new root with other keys'(repository, random) {
    repository.versions['root'] = (repository.versions['root'] ?? 1) + 1;
    const role = signingRoles[random(3)] ?? 'targets';
    repository.keys[role] = [testKey('tuf')];
  },
  'demands two'(repository, random) {
    repository.versions['root'] = (repository.versions['root'] ?? 1) + 1;
    const role = signingRoles[random(3)] ?? 'targets';
    repository.keys[role] = [testKey('tuf'), testKey('tuf')];
    repository.thresholds[role] = 2;
    if (random(2) === 0) repository.signers = { [role]: repository.keys[role].slice(0, 1) };
  },
};

test('valid and invalid histories of a repository have the same result as in tuf-js', async () => {
  const seeds = Number(process.env['TUF_HISTORIES'] ?? 8);
  let refusals = 0;
  for (let seed = 1; seed <= seeds; seed += 1) {
    const random = randomOf(seed);
    const service = await testService();
    const repository = testRepository('tuf');
    repository.targets['targets'] = { one: fileOf('tuf', Buffer.from('one')) };
    const { root } = service.publish(image, repository);
    const [ours, theirs] = [await folder(), await folder()];
    await initialiseTuf(ours, root ?? Buffer.alloc(0));
    await writeFile(join(theirs, 'root.json'), root ?? '');
    const url = `${service.url}/tuf/${image}`;
    const reported: string[] = [];
    for (let step = 0; step < 12; step += 1) {
      const names = Object.keys(steps);
      const name = names[random(names.length)] ?? '';
      steps[name]?.(repository, random);
      reported.push(name);
      // The files of a version are published once, unless an attacker interferes.
      const made = written(repository);
      service.publish(image, repository, made);
      if (random(6) === 0) service.publish(image, repository, { ...made, targets: Buffer.from('{}') });
      const outcomes = await Promise.all([
        refreshTuf({ metadataDir: ours, metadataUrl: url, now: new Date() }).then(
          () => 'believed',
          (error: unknown) => {
            assert.ok(isPortcullisError(error) && error.code.startsWith('TRUST_TUF_'), String(error));
            return 'refused';
          },
        ),
        refreshTheirs(theirs, url),
      ]);
      if (outcomes[0] === 'refused') refusals += 1;
      const where = `seed ${seed}: ${reported.join(', ')}`;
      // The file changed under its version. tuf-js does not compare its stored copy with the hash that is
      // signed now; this client does.
      if (outcomes.join() === 'refused,believed' && !(await keptAsServed(theirs, service.files))) break;
      assert.equal(outcomes[0], outcomes[1], where);
      for (const role of topRoles)
        assert.equal(await versionIn(ours, role), await versionIn(theirs, role), `${role}, ${where}`);
    }
    await service.close();
  }
  assert.ok(refusals > seeds, `only ${refusals} refusals: the histories are too good`);
});

async function refreshTheirs(metadataDir: string, metadataBaseUrl: string): Promise<string> {
  const updater = new Updater({ metadataDir, metadataBaseUrl, config: { fetchRetries: 0 } });
  return updater.refresh().then(
    () => 'believed',
    () => 'refused',
  );
}

async function keptAsServed(kept: string, served: ReadonlyMap<string, Buffer>): Promise<boolean> {
  for (const role of ['snapshot', 'targets']) {
    const bytes = await readFile(join(kept, `${role}.json`)).catch(() => undefined);
    const name = `/tuf/${image}/${await versionIn(kept, role)}.${role}.json`;
    if (bytes !== undefined && served.get(name)?.equals(bytes) === false) return false;
  }
  return true;
}

async function versionIn(metadata: string, role: string): Promise<number> {
  try {
    const file = JSON.parse(await readFile(join(metadata, `${role}.json`), 'utf8')) as {
      signed: { version: number };
    };
    return file.signed.version;
  } catch {
    return 0;
  }
}

test('a target of any name is downloaded below its folder, and only with the signed content', async () => {
  const service = await testService();
  const repository = testRepository('tuf');
  const content = Buffer.from('content');
  const names = ['plain', 'a/b.tar', '../../escape', '/etc/absolute', '%2e%2e/x', 'ünï'];
  repository.targets['targets'] = Object.fromEntries(names.map((name) => [name, fileOf('tuf', content)]));
  const { root } = service.publish(image, repository);
  service.answer = (path, response) => {
    if (path.startsWith('/tuf/')) return false;
    response.writeHead(200).end(content);
    return true;
  };
  const [metadataDir, targetDir] = [await folder(), await folder()];
  await initialiseTuf(metadataDir, root ?? Buffer.alloc(0));
  const input = {
    metadataDir,
    metadataUrl: `${service.url}/tuf/${image}`,
    targetUrl: `${service.url}/targets`,
    targetDir,
    now: new Date(),
  };
  try {
    const files = await downloadTargets({ ...input, paths: names });
    assert.ok(
      files.every(
        (file) => file.startsWith(`${targetDir}/`) && !file.slice(targetDir.length + 1).includes('/'),
      ),
    );
    assert.equal((await readdir(targetDir)).length, names.length);
    await assert.rejects(downloadTargets({ ...input, paths: ['Plain'] }), { code: 'TRUST_TUF_NO_TARGET' });
    service.answer = (path, response) =>
      path.startsWith('/targets/') && Boolean(response.writeHead(200).end('c0ntent'));
    await rm(join(targetDir, 'plain'));
    await assert.rejects(downloadTargets({ ...input, paths: ['plain'] }), { code: 'TRUST_TUF_WRONG_HASH' });
    service.answer = (path, response) =>
      path.startsWith('/targets/') && Boolean(response.writeHead(200).end('content and more'));
    await assert.rejects(downloadTargets({ ...input, paths: ['plain'] }), { code: 'TRUST_TUF_TOO_LARGE' });
    assert.ok(!(await readdir(targetDir)).includes('plain'));
  } finally {
    await service.close();
  }
});

test('without a first root, the error says how to trust one', async () => {
  const input = { metadataDir: await folder(), metadataUrl: 'https://tuf.invalid', now: new Date() };
  await assert.rejects(refreshTuf(input), {
    code: 'TRUST_TUF_MISSING',
    message:
      /no root is trusted there yet; get root\.json .* portcullis tuf-client --metadata-dir FOLDER init/u,
  });
});

test('a chain of new roots is limited', async () => {
  const service = await testService();
  const repository = testRepository('tuf');
  const { root } = service.publish(image, repository);
  for (let version = 2; version <= 300; version += 1) {
    repository.versions['root'] = version;
    service.publish(image, repository, { root: written(repository)['root'] ?? Buffer.alloc(0) });
  }
  const metadataDir = await folder();
  await initialiseTuf(metadataDir, root ?? Buffer.alloc(0));
  const input = { metadataDir, metadataUrl: `${service.url}/tuf/${image}`, now: new Date() };
  try {
    await assert.rejects(refreshTuf(input), { code: 'TRUST_TUF_TOO_MANY_ROOTS' });
    // The metadata trusted up to here is kept: the next update continues from it.
    assert.equal((await refreshTuf(input)).trusted.root.signed.version, 300);
  } finally {
    await service.close();
  }
});
