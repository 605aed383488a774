import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readPlatform } from './decision-options.ts';

for (const [text, says] of [
  ['linux/constructor', /constructor is unknown: use one of 386, /u],
  ['linux/armm64', /armm64 is unknown: did you mean arm64\?/u],
  ['linux/x86_64', /did you mean amd64\?/u],
  ['linux/aarch64/v8', /did you mean arm64\?/u],
  ['linus/arm64', /linus is unknown: did you mean linux\?/u],
  ['linux/vax', /vax is unknown: use one of 386, amd64/u],
] as const)
  test(`the platform ${text} is an error, also for an image without an index`, () => {
    assert.throws(() => readPlatform(text), { code: 'commander.invalidArgument', message: says });
  });

test('a platform is an operating system, an architecture and maybe a variant', () => {
  assert.deepEqual(readPlatform('linux/arm/v7'), { os: 'linux', architecture: 'arm', variant: 'v7' });
  assert.deepEqual(readPlatform('windows/amd64'), { os: 'windows', architecture: 'amd64' });
});
