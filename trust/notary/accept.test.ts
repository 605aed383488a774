import assert from 'node:assert/strict';
import { test } from 'node:test';
import { signed, testRepository, written } from '../tuf/fixtures/repository.fixture.ts';
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
