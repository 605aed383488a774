import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { capabilityNames } from '../../capabilities/index.ts';
import { boundingCapabilities, effectiveCapabilities, kernelRelease } from '../index.ts';

function ofStatus(field: string): string[] {
  const hex =
    new RegExp(`^${field}:\\s+([0-9a-f]+)$`, 'm').exec(
      readFileSync('/proc/thread-self/status', 'utf8'),
    )?.[1] ?? '';
  return capabilityNames.filter((_name, number) => ((BigInt(`0x${hex}`) >> BigInt(number)) & 1n) === 1n);
}

test('the sets equal the sets in /proc', () => {
  assert.deepEqual(boundingCapabilities(), ofStatus('CapBnd'));
  assert.deepEqual(effectiveCapabilities(), ofStatus('CapEff'));
});

test('the table ends with the last capability of linux/capability.h', () => {
  assert.equal(capabilityNames.length, 41);
  assert.equal(capabilityNames[21], 'SYS_ADMIN');
  assert.equal(capabilityNames[40], 'CHECKPOINT_RESTORE');
});

test('the release has numbers', () => {
  const { major, minor, release } = kernelRelease();
  assert.ok(release.startsWith(`${major}.${minor}`));
});
