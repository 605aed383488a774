import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { landlockVersion } from '../../base/kernel/index.ts';
import { launcherArguments } from '../../base/elf/index.ts';
import { LANDLOCK_ABI, landlockLauncher } from './launcher.ts';
import { planLandlock } from './plan.ts';
import type { LandlockRule } from '../types.ts';
import type { FileRules } from '../profile/model.ts';

const allow = (...rules: FileRules['allow']): FileRules[] => [{ allow: rules, deny: [] }];

describe('the plan of Landlock rules', () => {
  it('is exact for files and for folders with all below them', () => {
    const plan = planLandlock(
      allow(
        { pattern: '/{app,srv}/**', access: ['read'] },
        { pattern: '/etc/{hosts,passwd}', access: ['read', 'write'] },
        { pattern: '/**', access: ['execute'] },
      ),
    );
    assert.deepEqual(plan.beyond, []);
    assert.deepEqual(
      plan.rules.map(({ path, kind, access }) => `${path} ${kind} ${access.join()}`),
      [
        '/ folder execute',
        '/app folder read',
        '/etc/hosts file read,write',
        '/etc/passwd file read,write',
        '/srv folder read',
      ],
    );
  });

  for (const [what, files, path] of [
    ['a wildcard', allow({ pattern: '/app/*.txt', access: ['read'] }), '/app/'],
    ['children alone', allow({ pattern: '/app/*', access: ['read'] }), '/app/a/'],
    ['a folder alone', allow({ pattern: '/app/', access: ['read'] }), '/app/a'],
    [
      'a denial inside',
      [
        {
          allow: [{ pattern: '/app/**', access: ['read'] as const }],
          deny: [{ pattern: '/app/key', access: ['read'] as const }],
        },
      ],
      '/app/key',
    ],
  ] as const) {
    it(`reports what it would grant beyond ${what}`, () => {
      const { beyond } = planLandlock(files);
      assert.deepEqual(
        beyond.map((excess) => excess.path),
        [path],
      );
    });
  }

  it('accepts a wildcard that another rule covers, and a denial of what no rule allows', () => {
    const files: FileRules[] = [
      {
        allow: [
          { pattern: '/app/*.txt', access: ['read'] },
          { pattern: '/app/**', access: ['read'] },
        ],
        deny: [{ pattern: '/etc/**', access: ['read'] }],
      },
    ];
    assert.deepEqual(planLandlock(files).beyond, []);
  });

  it('accepts as many rules as it supports if Landlock can express each of them', () => {
    const allow = Array.from({ length: 1000 }, (_, at) => ({
      pattern: at % 2 === 0 ? `/app/${at}/**` : `/etc/file${at}`,
      access: ['read', 'write'] as const,
    }));
    const { rules, beyond } = planLandlock([{ allow, deny: [{ pattern: '/x', access: ['execute'] }] }]);
    assert.deepEqual([rules.length, beyond], [1000, []]);
  });
});

/**
 * A change of these bytes changes what runs in every confined container: read the disassembly (`objdump -D -b
 * binary`), then update the value here.
 */
describe('the launcher', () => {
  const rules: readonly LandlockRule[] = [{ path: '/app', kind: 'folder', access: ['read'] }];
  for (const [architecture, size, digest] of [
    ['x86_64', 1016, '1fa9b17473381ecd0c8e4c434093818214136df326263f31c8319d8e6fb3e2c2'],
    ['aarch64', 1048, 'b583a53063a56d4128d0643b827c965b77831ad0d8012548dbd3f24b24df40ca'],
  ] as const) {
    it(`is these bytes on ${architecture}`, () => {
      const bytes = landlockLauncher(rules, architecture);
      assert.deepEqual([bytes.length, createHash('sha256').update(bytes).digest('hex')], [size, digest]);
    });
  }

  it('searches PATH for a command without a slash, and passes on its arguments', () => {
    assert.deepEqual(launcherArguments('/l', ['sh', '-c', ''], '/bin::/usr/bin'), [
      '/l',
      '/bin/sh',
      '/usr/bin/sh',
      '',
      'sh',
      '-c',
      '',
    ]);
    assert.deepEqual(launcherArguments('/l', ['./sh'], '/bin'), ['/l', './sh', '', './sh']);
    assert.deepEqual(launcherArguments('/l', [], undefined), ['/l', '']);
  });

  const usable = landlockVersion() >= LANDLOCK_ABI && ['x64', 'arm64'].includes(process.arch);
  describe('on the running kernel', { skip: !usable && 'this kernel has no Landlock of version 3' }, () => {
    let folder = '';
    const programs: LandlockRule[] = ['/usr', '/lib', '/lib64', '/bin'].map((path) => ({
      path,
      kind: 'folder',
      access: ['execute', 'read'],
    }));
    before(() => {
      folder = realpathSync(mkdtempSync(join(tmpdir(), 'launcher-')));
      mkdirSync(join(folder, 'open/deep'), { recursive: true });
      writeFileSync(join(folder, 'open/deep/file'), 'open');
      writeFileSync(join(folder, 'shut'), 'shut');
      symlinkSync(folder, join(folder, 'open/link'));
    });
    after(() => rmSync(folder, { recursive: true }));

    const run = (more: readonly LandlockRule[], script: string): string => {
      const file = join(folder, 'launcher');
      writeFileSync(
        file,
        landlockLauncher([...programs, ...more], process.arch === 'arm64' ? 'aarch64' : 'x86_64'),
        { mode: 0o755 },
      );
      const [command = '', ...args] = launcherArguments(file, ['sh', '-c', script], '/nowhere:/usr/bin:/bin');
      const { stdout, status } = spawnSync(command, args, { cwd: '/', encoding: 'utf8' });
      return `${stdout}${status}`;
    };

    it('grants the contents of a folder and nothing beside it', () => {
      const open: LandlockRule = { path: join(folder, 'open'), kind: 'folder', access: ['read'] };
      assert.equal(run([open], `cat ${folder}/open/deep/file`), 'open0');
      assert.equal(run([open], `cat ${folder}/shut`), '1');
      assert.equal(run([open], `cat ${folder}/open/link/shut`), '1');
      assert.equal(run([open], `echo x > ${folder}/open/deep/file`), '2');
    });

    it('grants nothing by a path through a symbolic link, a file that is a folder, or a folder that is a file', () => {
      for (const rule of [
        { path: join(folder, 'open/link'), kind: 'folder' },
        { path: join(folder, 'open/link/open'), kind: 'folder' },
        { path: join(folder, 'open'), kind: 'file' },
        { path: join(folder, 'shut'), kind: 'folder' },
        { path: join(folder, 'not-there'), kind: 'folder' },
      ] as const) {
        assert.equal(run([{ ...rule, access: ['read'] }], `cat ${folder}/shut`), '1');
        assert.equal(run([{ ...rule, access: ['read'] }], `cat ${folder}/open/deep/file`), '1');
      }
    });

    it('changes single files, and makes and removes only in folders', () => {
      const file: LandlockRule = { path: join(folder, 'open/deep/file'), kind: 'file', access: ['write'] };
      assert.equal(run([file], `echo -n open > ${folder}/open/deep/file`), '0');
      assert.equal(run([file], `rm ${folder}/open/deep/file`), '1');
      const all: LandlockRule = { path: join(folder, 'open'), kind: 'folder', access: ['write'] };
      assert.equal(
        run(
          [all],
          `mkdir ${folder}/open/new && mv ${folder}/open/deep/file ${folder}/open/new/file && mv ${folder}/open/new/file ${folder}/open/deep/file && rmdir ${folder}/open/new`,
        ),
        '0',
      );
    });

    it('ends with 127 if the command does not exist, 126 if it cannot be executed, 125 without arguments', () => {
      const file = join(folder, 'launcher');
      const end = (...args: readonly string[]): number | null => spawnSync(file, args).status;
      assert.deepEqual(
        [end('/not/there', '', 'x'), end(join(folder, 'shut'), '', 'x'), end(), end('x')],
        [127, 126, 125, 125],
      );
    });

    it('tries the next folder after a file that cannot be reached or executed, but not after one that is no program', () => {
      const file = join(folder, 'launcher');
      const damaged = join(folder, 'damaged');
      writeFileSync(damaged, 'no program', { mode: 0o755 });
      const open: LandlockRule = { path: folder, kind: 'folder', access: ['execute', 'read'] };
      assert.equal(run([open], 'exit 3'), '3');
      const end = (first: string): number | null => spawnSync(file, [first, '/bin/true', '', 'true']).status;
      const loop = join(folder, 'loop');
      symlinkSync(loop, loop);
      assert.deepEqual([end(join(folder, 'shut')), end(loop), end(damaged)], [0, 0, 126]);
    });
  });
});
