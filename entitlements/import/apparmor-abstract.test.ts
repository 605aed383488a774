import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileExcess, grants } from '../compare/files.ts';
import { appArmorAbstract } from '../export/apparmor-abstract.ts';
import { defaultProfile } from '../profile/builtin.ts';
import type { FileAccess } from '../types.ts';
import { importAppArmorAbstract } from './apparmor-abstract.ts';

describe('structured AppArmor rules', () => {
  const may = (rules: object, access: FileAccess, path: string): boolean =>
    grants(importAppArmorAbstract(rules, '').profile.files ?? [], access, path);

  it('have the globs of AppArmor: a star after a slash matches at least one character', () => {
    const rules = { filesystem: { readWritePaths: ['/app/**', '/data/*'] } };
    const asked = ['/app/', '/app/x', '/data/', '/data/x'];
    assert.deepEqual(
      asked.map((path) => may(rules, 'write', path)),
      [false, true, false, true],
    );
  });

  it('deny what a negated class of AppArmor matches, the slash too', () => {
    const rules = { filesystem: { readOnlyPaths: ['/app[^x]key'], readWritePaths: ['/app/*'] } };
    assert.equal(may(rules, 'write', '/app/other'), true);
    assert.equal(may(rules, 'write', '/app/key'), false);
  });

  it('are written with these globs, and read back as the same rules', () => {
    const files = [
      {
        allow: [
          { pattern: '/app/**', access: ['read', 'write'] as const },
          { pattern: '/a b/[^a-c]', access: ['read', 'write'] as const },
        ],
        deny: [],
      },
    ];
    const { rules } = appArmorAbstract({ ...defaultProfile(), files });
    const back = importAppArmorAbstract(rules, '').profile.files;
    assert.deepEqual([fileExcess(files, back), fileExcess(back, files)], [undefined, undefined]);
    assert.deepEqual((rules as { filesystem: { readWritePaths: unknown } }).filesystem.readWritePaths, [
      '/app/{,**}',
      '/a\\040b/[^/abc]',
    ]);
  });

  it('are written with @{pid} for the number of a process', () => {
    const { files } = importAppArmorAbstract(
      { filesystem: { readWritePaths: ['@{PROC}/@{pid}/**'] } },
      '',
    ).profile;
    const { rules } = appArmorAbstract({ ...defaultProfile(), ...(files && { files }) });
    assert.match(JSON.stringify(rules), /"\/proc\/@\{pid\}\/\?\*\*"/);
  });
});
