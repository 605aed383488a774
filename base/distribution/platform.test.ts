import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Descriptor } from './descriptor.ts';
import { choosePlatform, normalPlatform, otherChoices } from './platform.ts';

const normal: readonly (readonly [written: string, normal: string])[] = [
  ['linux/amd64', 'linux/amd64'],
  ['Linux/X86_64', 'linux/amd64'],
  ['linux/amd64/v1', 'linux/amd64'],
  ['linux/amd64/v3', 'linux/amd64/v3'],
  ['linux/aarch64', 'linux/arm64'],
  ['linux/arm64/v8', 'linux/arm64'],
  ['linux/arm64/8', 'linux/arm64'],
  ['linux/arm/7', 'linux/arm/v7'],
  ['linux/armhf', 'linux/arm/v7'],
  ['linux/armel', 'linux/arm/v6'],
  ['linux/i386', 'linux/386'],
  ['linux/constructor', 'linux/constructor'],
];
const platformOf = (text: string) => {
  const [os = '', architecture = '', variant] = text.split('/');
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
};

for (const [written, expected] of normal)
  test(`${written} is ${expected}`, () => {
    assert.deepEqual(normalPlatform(platformOf(written)), platformOf(expected));
  });

const choices: readonly (readonly [
  machine: string,
  entries: readonly string[],
  chosen: string | undefined,
])[] = [
  ['linux/amd64', ['linux/amd64/v3', 'linux/amd64'], 'linux/amd64'],
  ['linux/amd64', ['linux/AMD64', 'linux/amd64'], 'linux/AMD64'],
  ['linux/amd64', ['linux/amd64/v2'], undefined],
  ['linux/amd64/v3', ['linux/amd64', 'linux/amd64/v3'], 'linux/amd64/v3'],
  ['linux/amd64/v3', ['linux/amd64'], 'linux/amd64'],
  ['linux/arm/v6', ['linux/arm/v7', 'linux/arm/v5'], 'linux/arm/v5'],
  ['linux/x86_64', ['linux/amd64'], 'linux/amd64'],
];
for (const [machine, entries, chosen] of choices)
  test(`${machine} gets ${chosen ?? 'nothing'} of ${entries.join(', ')}`, () => {
    const platforms = entries.map((text) => ({ text, platform: platformOf(text) }));
    assert.equal(choosePlatform(platforms, platformOf(machine))?.text, chosen);
  });

test('an entry that demands features of the operating system is skipped', () => {
  const plain = { platform: platformOf('linux/amd64') };
  const demanding = { platform: { ...plain.platform, osFeatures: ['erofs'] } };
  assert.equal(choosePlatform([demanding, plain], plain.platform), plain);
  assert.equal(choosePlatform([demanding], plain.platform), undefined);
});

type Entry = Pick<Descriptor, 'platform' | 'artifactType'>;

test('where an entry without a platform is chosen, artifacts without one are other choices', () => {
  const machine = platformOf('linux/amd64');
  const [artifact, open]: readonly [Entry, Entry] = [{ artifactType: 'a/b' }, {}];
  assert.equal(choosePlatform([artifact, open], machine), open);
  assert.deepEqual(otherChoices([artifact, open], machine, open), [artifact]);
  const stated: Entry = { platform: machine };
  assert.deepEqual(otherChoices([artifact, stated], machine, stated), []);
});
