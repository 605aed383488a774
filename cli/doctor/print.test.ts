import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatFindings } from './print.ts';

test('every line of an explanation is below its finding, also if the explanation has several lines', () => {
  const finding = {
    topic: 'policy',
    state: 'degraded',
    found: '1 rule',
    meaning: ['load trust policy /p: 1 problem:\n/p: cannot be read: it does not exist\ncorrect it'],
    fix: 'portcullis policy check /p',
  } as const;
  assert.equal(
    formatFindings([{ title: 'Daemon', findings: [finding] }], { colour: false, unicode: true }),
    `Daemon
  ! policy               1 rule
      load trust policy /p: 1 problem:
      /p: cannot be read: it does not exist
      correct it
      → portcullis policy check /p
`,
  );
});

test('marks are ASCII where the locale has nothing else, and take the same columns', () => {
  const findings = (['fine', 'degraded', 'missing'] as const).map(
    (state) => ({ topic: 'cgroups', state, found: 'v1', fix: 'mount v2' }) as const,
  );
  assert.equal(
    formatFindings([{ title: 'Kernel', findings }], { colour: false, unicode: false }),
    `Kernel
  ok cgroups              v1
  !  cgroups              v1
      -> mount v2
  NO cgroups              v1
      -> mount v2
`,
  );
});
