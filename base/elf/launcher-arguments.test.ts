import assert from 'node:assert/strict';
import { it } from 'node:test';
import { launcherArguments } from './launcher-arguments.ts';

const rows: readonly [
  what: string,
  args: readonly string[],
  path: string | undefined,
  expected: readonly string[],
][] = [
  [
    'a command is searched for in each folder of PATH, in order',
    ['sh', '-c', ''],
    '/bin:/usr/bin',
    ['/bin/sh', '/usr/bin/sh', '', 'sh', '-c', ''],
  ],
  [
    'an empty folder of PATH, which execvp takes for the working directory, is left out',
    ['sh'],
    ':/bin::',
    ['/bin/sh', '', 'sh'],
  ],
  ['a command with a slash is not searched for', ['./sh'], '/bin', ['./sh', '', './sh']],
  ['an absolute command is not searched for', ['/bin/sh', 'x'], '/usr/bin', ['/bin/sh', '', '/bin/sh', 'x']],
  [
    'without a PATH, the usual folders are searched',
    ['sh'],
    undefined,
    [
      '/usr/local/sbin/sh',
      '/usr/local/bin/sh',
      '/usr/sbin/sh',
      '/usr/bin/sh',
      '/sbin/sh',
      '/bin/sh',
      '',
      'sh',
    ],
  ],
  ['an empty PATH has no candidate', ['sh'], '', ['', 'sh']],
  ['without a command there is no candidate', [], '/bin', ['']],
  ['an empty command has no candidate', [''], '/bin', ['', '']],
];

for (const [what, args, path, expected] of rows)
  it(what, () => assert.deepEqual(launcherArguments('/launcher', args, path), ['/launcher', ...expected]));
