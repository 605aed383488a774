import assert from 'node:assert/strict';
import { test } from 'node:test';
import { signed, testKey, testRepository, written } from '../tuf/fixtures/repository.fixture.ts';
import { accept } from './accept.ts';
import { isRefusal } from './refusal.ts';

const mebibyte = 1024 * 1024;

for (const [role, most] of [
  ['root', mebibyte],
  ['timestamp', mebibyte],
  ['snapshot', 4 * mebibyte],
] as const)
  test(`a ${role} that is larger than ${most} bytes is refused, and a smaller one is not`, () => {
    for (const [padding, refusal] of [
      [most - 64 * 1024, undefined],
      [most, new RegExp(`the ${role} has \\d+ bytes, and the service accepts at most ${most} bytes`, 'u')],
    ] as const) {
      const repository = testRepository('tuf');
      const files = written(repository);
      const padded = (name: string, body: object = {}): Buffer => {
        const plain = (JSON.parse(String(files[name])) as { readonly signed: object }).signed;
        const more = name === role ? { padding: 'a'.repeat(padding) } : {};
        return signed('tuf', { ...plain, ...more, ...body }, repository.keys[name as 'root']);
      };
      const snapshot = padded('snapshot');
      const outcome = accept('tuf', {
        gun: 'example.com/app',
        now: Date.parse('2030-01-01'),
        uploads: [
          { name: 'root', bytes: padded('root') },
          { name: 'targets', bytes: files['targets'] as Buffer },
          { name: 'snapshot', bytes: snapshot },
          { name: 'timestamp', bytes: padded('timestamp', { meta: { 'snapshot.json': { version: 1 } } }) },
        ],
        stored: new Map(),
        online: [],
      });
      if (refusal === undefined) assert.ok(!isRefusal(outcome), JSON.stringify(outcome));
      else assert.match(JSON.stringify(outcome), refusal);
    }
  });

test('a delegated role that has expired keeps nobody from publishing other roles', () => {
  const repository = testRepository('tuf');
  const team = testKey('tuf');
  const roles = ['team', 'other'].map((name) => ({
    name,
    keyids: [team.id],
    threshold: 1,
    terminating: false,
    paths: [`${name}/*`],
  }));
  repository.delegations['targets'] = { keys: { [team.id]: team.entry }, roles };
  for (const { name } of roles) {
    repository.targets[name] = {};
    repository.delegated[name] = [team];
    repository.expires[name] = '2029-01-01T00:00:00Z';
  }
  const stored = new Map(Object.entries(written(repository)));
  const outcomeOf = (role: string): unknown => {
    for (const name of [role, 'snapshot', 'timestamp']) repository.versions[name] = 2;
    const files = Object.entries(written(repository)).filter(([name]) => repository.versions[name] === 2);
    const uploads = files.map(([name, bytes]) => ({ name, bytes }));
    repository.versions[role] = 1;
    const now = Date.parse('2030-01-01');
    return accept('tuf', { gun: 'example.com/app', now, uploads, stored, online: [] });
  };
  assert.ok(!isRefusal(outcomeOf('targets')), JSON.stringify(outcomeOf('targets')));
  assert.match(JSON.stringify(outcomeOf('team')), /version 2 expired/u);
  repository.expires['team'] = '2031-01-01T00:00:00Z';
  assert.ok(!isRefusal(outcomeOf('team')), JSON.stringify(outcomeOf('team')));
});
