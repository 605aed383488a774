import assert from 'node:assert/strict';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { compile } from '../compile/compile.ts';
import { builtinProfile, defaultProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { createProver } from './prover.ts';
import { openSettingsStore } from './settings-store.ts';

const target = {
  architecture: 'x86_64',
  runtime: 'crun',
  kernel: { seccomp: true, apparmor: false, expanded: {} },
} as const;
const settings = compile(
  { ...defaultProfile(), limits: { NOFILE: { soft: 1n << 60n, hard: 1n << 62n } } },
  target,
);
const { digest } = settings;

describe('proved settings in files', () => {
  const top = mkdtempSync(join(tmpdir(), 'settings-store-'));
  after(() => rmSync(top, { recursive: true }));
  let count = 0;
  const fresh = (code = 'code') => {
    const folder = join(top, String((count += 1)));
    const store = openSettingsStore(folder, code);
    assert.ok(store);
    return { folder, store, file: (): string => join(folder, readdirSync(folder)[0] ?? '') };
  };

  it('are read back unchanged, only for the same code', () => {
    const { folder, store, file } = fresh();
    assert.equal(store.read(digest), undefined);
    store.write(digest, settings);
    assert.deepEqual(store.read(digest), settings);
    assert.equal(openSettingsStore(folder, 'other code')?.read(digest), undefined);
    assert.deepEqual([statSync(folder).mode & 0o777, statSync(file()).mode & 0o777], [0o700, 0o600]);
  });

  it('leave no incomplete file behind for the next start', () => {
    const { folder, store } = fresh();
    store.write(digest, settings);
    const [whole = ''] = readdirSync(folder);
    writeFileSync(join(folder, `${whole}.0123456789ab`), 'a killed write', { mode: 0o600 });
    assert.deepEqual(openSettingsStore(folder, 'code')?.read(digest), settings);
    assert.deepEqual(readdirSync(folder), [whole]);
  });

  const damages: Readonly<Record<string, (file: string) => void>> = {
    'a changed bit': (file) => {
      const bytes = readFileSync(file);
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
      writeFileSync(file, bytes);
    },
    'a missing end': (file) => writeFileSync(file, readFileSync(file).subarray(0, -1)),
    'nothing in it': (file) => writeFileSync(file, ''),
    'a mode that lets others write': (file) => chmodSync(file, 0o622),
    'a link in its place': (file) => {
      const other = join(top, `other-${count}`);
      writeFileSync(other, readFileSync(file), { mode: 0o600 });
      rmSync(file);
      symlinkSync(other, file);
    },
    'another name for it': (file) => linkSync(file, join(top, `name-${count}`)),
  };
  for (const [what, damage] of Object.entries(damages)) {
    it(`are made again: ${what}`, () => {
      const { store, file } = fresh();
      store.write(digest, settings);
      damage(file());
      assert.equal(store.read(digest), undefined);
    });
  }

  it('are not used for another digest', () => {
    const { store, file } = fresh();
    store.write(digest, settings);
    const own = file();
    const bytes = readFileSync(own);
    rmSync(own);
    store.write('sha256:other', settings);
    writeFileSync(file(), bytes);
    assert.equal(store.read('sha256:other'), undefined);
  });

  it('are not kept in a folder that another user may write to, or in a link', () => {
    const open = join(top, 'open');
    mkdirSync(open, { mode: 0o700 });
    symlinkSync(open, join(top, 'link'));
    assert.equal(openSettingsStore(join(top, 'link'), 'code'), undefined);
    chmodSync(open, 0o777);
    assert.equal(openSettingsStore(open, 'code'), undefined);
  });
});

describe('the meet of profiles', () => {
  it('is the same from the Worker, which is asked if patterns meet patterns', async () => {
    const prover = createProver();
    try {
      const files = (pattern: string): Profile => ({
        ...defaultProfile(),
        files: [{ allow: [{ pattern, access: ['read'] }], deny: [] }],
      });
      const [a, b] = [files('/a*/**'), files('/*b/**')];
      const first = await prover.meet([a, b]);
      assert.deepEqual(first.files?.[0]?.allow.map(({ pattern }) => pattern).length, 1);
      assert.equal(await prover.meet([structuredClone(a), b]), first, 'known by content');
      const easy = await prover.meet([a, builtinProfile('baseline') ?? a]);
      assert.deepEqual(easy.files, a.files);
    } finally {
      await prover.close();
    }
  });
});
