import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadPolicy } from '../policy/load.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { fileOf, testKey, testRepository } from '../tuf/fixtures/repository.fixture.ts';
import type { TestFile } from '../tuf/fixtures/repository.fixture.ts';
import { testService } from '../tuf/fixtures/served-repository.fixture.ts';
import type { TestService } from '../tuf/fixtures/served-repository.fixture.ts';
import { createTrustServices } from './trust-services.ts';
import type { TrustServicesOptions } from './trust-services.ts';

const [wanted, other, hidden] = ['wanted', 'other', 'hidden'].map((text) =>
  fileOf('tuf', Buffer.from(text)),
) as [TestFile, TestFile, TestFile];
const digest = `sha256:${wanted.hashes.sha256}`;
const hostileReference = `r.example/hostile@sha256:${hidden.hashes.sha256}`;
/** No test waits this long. */
const forever = 600_000;

/** One service has metadata that takes minutes to search by digest; the other is ordinary. */
describe('metadata that takes long to evaluate', () => {
  let [hostile, honest]: TestService[] = [];
  let home = '';
  let policy: TrustPolicy;

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'tuf-held-up-'));
    [hostile, honest] = [await testService(), await testService()];
    const roots = {
      'hostile.json': hostile.publish('r.example/hostile', costlyRepository()).root,
      'honest.json': honest.publish('r.example/honest', plainRepository()).root,
    };
    for (const [name, bytes] of Object.entries(roots)) await writeFile(join(home, name), bytes ?? '');
    const rule = (name: string, url: string): string =>
      `  - images: ['r.example/${name}']\n    require: { tuf: { service: '${url}', root: ${name}.json } }\n`;
    const rules = `${rule('hostile', hostile.url)}${rule('honest', honest.url)}`;
    await writeFile(
      join(home, 'policy.yaml'),
      `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n${rules}`,
    );
    ({ policy } = await loadPolicy({ paths: [join(home, 'policy.yaml')] }));
  });
  after(async () => {
    await hostile?.close();
    await honest?.close();
    await rm(home, { recursive: true });
  });

  const open = (
    name: string,
    options: Partial<TrustServicesOptions>,
  ): ReturnType<typeof createTrustServices> => createTrustServices({ folder: join(home, name), ...options });

  it('delays no answer about another service', async () => {
    const services = open('apart', { threadDeadlineMs: forever });
    const stuck = services.ask({ policy, reference: hostileReference });
    try {
      // The last role of the search has arrived: from now on the thread only searches.
      while (hostile?.asked.some((path) => path.includes('second')) !== true) await sleep(10);
      await sleep(300);
      for (const reference of ['r.example/honest:1', `r.example/honest@${digest}`])
        assert.equal((await services.ask({ policy, reference }))?.digest, digest, reference);
    } finally {
      await services.close();
    }
    assert.equal((await stuck)?.digest, undefined);
  });

  it('fails its own question at the deadline, without a result; other questions about that service are answered', async () => {
    const services = open('alone', { threadDeadlineMs: 5000 });
    try {
      const ask = (reference: string): ReturnType<typeof services.ask> => services.ask({ policy, reference });
      const [stuck, ...others] = await Promise.all([
        ask(hostileReference),
        ask('r.example/hostile:plain'),
        ask('r.example/hostile:plain'),
        ask('r.example/honest:1'),
      ]);
      assert.deepEqual(
        others.map((answer) => answer?.digest),
        [digest, digest, digest],
      );
      assert.equal(stuck?.digest, undefined);
      assert.deepEqual(
        stuck?.answers.map(({ refused, known }) => [refused, known]),
        [['TRUST_TUF_TOO_SLOW', false]],
      );
      assert.match(stuck.items[0]?.problem ?? '', /could not be evaluated: there was no answer within 5 s/u);
    } finally {
      await services.close();
    }
  });
});

function plainRepository(): ReturnType<typeof testRepository> {
  const repository = testRepository('tuf');
  repository.targets['targets'] = { '1': wanted };
  return repository;
}

/**
 * 256 names have the digest. The search finds it under none of them, and matches each name against patterns
 * that nearly match.
 */
function costlyRepository(): ReturnType<typeof testRepository> {
  const repository = testRepository('tuf');
  const key = testKey('tuf');
  const names = Array.from({ length: 256 }, (_, index) => `${'a'.repeat(1000)}${1000 + index}`);
  const role = (name: string, paths: readonly string[]): object => ({
    name,
    keyids: [key.id],
    threshold: 1,
    terminating: false,
    paths,
  });
  const nearly = Array.from({ length: 1500 }, (_, index) => `*${'a'.repeat(500)}${index}b`);
  repository.targets['targets'] = { plain: wanted };
  repository.delegations['targets'] = {
    keys: { [key.id]: key.entry },
    roles: [role('nearly', nearly), role('first', ['*']), role('second', ['*'])],
  };
  repository.targets['first'] = Object.fromEntries(names.map((name) => [name, other]));
  repository.targets['second'] = Object.fromEntries(names.map((name) => [name, hidden]));
  for (const name of ['first', 'second']) {
    repository.delegated[name] = [key];
    repository.versions[name] = 1;
  }
  return repository;
}
