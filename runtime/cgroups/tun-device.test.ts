import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { allowsTun, denyTun } from './tun-device.ts';
import type { DeviceRule } from './tun-device.ts';

const none: DeviceRule = { allow: false, access: 'rwm' };
const tun: DeviceRule = { allow: true, type: 'c', major: 10, minor: 200, access: 'rw' };
for (const [title, rules, isAllowed] of [
  ['no rule', [], false],
  ['a rule that denies all', [none], false],
  ['a rule for it', [none, tun], true],
  ['a later rule that denies all', [tun, none], false],
  ['a rule for all', [none, { allow: true, type: 'a', access: 'rwm' }], true],
  ['a rule for all minor numbers', [none, { allow: true, type: 'c', major: 10, access: 'r' }], true],
  ['a rule for all numbers of an earlier form', [{ allow: true, type: 'c', major: -1, minor: -1 }], true],
  ['a rule that allows only to make nodes', [none, { allow: true, type: 'c', access: 'm' }], false],
  ['a rule for another device', [none, { ...tun, minor: 201 }], false],
  ['a rule for block devices', [none, { ...tun, type: 'b' }], false],
] as const)
  test(`/dev/net/tun is ${isAllowed ? 'allowed' : 'denied'} by ${title}`, () =>
    assert.equal(allowsTun(rules), isAllowed));

test('a cgroup that is missing is an error, and a missing controller is none', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-tun-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const roots = ['cpu', 'devices'].map((name) => join(folder, name));
  for (const root of roots) mkdirSync(join(root, 'pod'), { recursive: true });
  await denyTun({ version: 1, hybrid: false, roots }, '/pod');
  writeFileSync(join(folder, 'devices/devices.deny'), '');
  await denyTun({ version: 1, hybrid: false, roots }, '/pod');
  assert.equal(readFileSync(join(folder, 'devices/pod/devices.deny'), 'utf8'), 'c 10:200 rwm');
  await assert.rejects(denyTun({ version: 1, hybrid: false, roots }, '/pod/container'), { code: 'ENOENT' });
});
