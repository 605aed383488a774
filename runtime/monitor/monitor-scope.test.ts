import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isService } from './monitor-scope.ts';

const cases: readonly [what: string, text: string, answer: boolean][] = [
  ['a service', '0::/system.slice/portcullisd.service\n', true],
  ['a folder that was delegated to a service', '0::/system.slice/portcullisd.service/daemon\n', true],
  ['a service in version 1', '5:memory:/\n1:name=systemd:/system.slice/portcullisd.service\n', true],
  ['a shell', '0::/user.slice/user-0.slice/session-1.scope\n', false],
  [
    'a shell of version 1 with a controller elsewhere',
    '5:memory:/system.slice/x.service\n1:name=systemd:/init.scope\n',
    false,
  ],
  ['no systemd', '0::/\n', false],
];

for (const [what, text, answer] of cases)
  test(`whether systemd may end the daemon by its cgroup: ${what}`, () =>
    assert.equal(isService(text), answer));
