import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { commandFile } from '../../../test/fixtures/command.ts';
import { loadDaemonConfig } from '../load.ts';
import { importConfiguration, kindOfToml } from './import.ts';
import type { Imported } from './import.ts';

/** Converts these texts as a registries.conf and its drop-ins. */
const converted = (...texts: readonly string[]): Imported =>
  importConfiguration(texts.map((text, at) => ({ kind: 'registries', file: `${at}.conf`, text })));
const left = ({ findings }: Imported): Record<string, string> =>
  Object.fromEntries(
    findings.filter(({ outcome }) => outcome === 'left').map(({ key, note }) => [key, note]),
  );

const cases: readonly {
  readonly what: string;
  readonly text: string;
  readonly settings: object;
  readonly left?: Readonly<Record<string, RegExp>>;
}[] = [
  {
    what: 'a registry over plain HTTP is insecure',
    text: '[[registry]]\nlocation = "A.test:5000"\ninsecure = true\n',
    settings: { insecure: ['a.test:5000'] },
  },
  {
    what: 'one mirror of a registry is imported, with its path',
    text: '[[registry]]\nprefix = "docker.io"\n[[registry.mirror]]\nlocation = "m.test/hub"\npull-from-mirror = "all"\n',
    settings: { mirrors: { 'docker.io': { url: 'https://m.test/hub', origin: true } } },
  },
  {
    what: 'mirrors are imported in their order',
    text: '[[registry]]\nprefix = "docker.io"\n[[registry.mirror]]\nlocation = "m.test/hub"\n[[registry.mirror]]\nlocation = "n.test:5000"\ninsecure = true\n',
    settings: {
      prefixes: {
        'docker.io': {
          mirrors: [{ url: 'https://m.test/hub' }, { url: 'http://n.test:5000' }],
          origin: true,
        },
      },
    },
  },
  {
    what: 'mirrors beyond their maximum number are omitted',
    text: `[[registry]]\nprefix = "a.test"\n${'[[registry.mirror]]\nlocation = "m.test"\n'.repeat(17)}`,
    settings: {
      prefixes: {
        'a.test': { mirrors: Array.from({ length: 16 }, () => ({ url: 'https://m.test' })), origin: true },
      },
    },
    left: { 'registry[a.test].mirror[16]': /at most 16/u },
  },
  {
    what: 'a mirror that is insecure is reached over plain HTTP',
    text: '[[registry]]\nlocation = "a.test"\n[[registry.mirror]]\nlocation = "m.test:5000"\ninsecure = true\n',
    settings: { mirrors: { 'a.test': { url: 'http://m.test:5000', origin: true } } },
  },
  {
    what: 'another location is the only source',
    text: '[[registry]]\nprefix = "a.test"\nlocation = "inside.test/a"\n',
    settings: { mirrors: { 'a.test': { url: 'https://inside.test/a', origin: false } } },
  },
  {
    what: 'another location is the last source, after the mirrors',
    text: '[[registry]]\nprefix = "a.test/team"\nlocation = "inside.test/a"\ninsecure = true\n[[registry.mirror]]\nlocation = "m.test"\n',
    settings: {
      prefixes: {
        'a.test/team': {
          mirrors: [{ url: 'https://m.test' }, { url: 'http://inside.test/a' }],
          origin: false,
        },
      },
    },
  },
  {
    what: 'an invalid location blocks the names: the registry itself is not asked instead',
    text: '[[registry]]\nprefix = "a.test"\nlocation = "https://inside.test"\n',
    settings: { prefixes: { 'a.test': { blocked: true } } },
    left: { 'registry[a.test].location': /HOST/u },
  },
  {
    what: 'mirrors for digests only are imported as such, and a mirror for tags only is omitted',
    text: '[[registry]]\nlocation = "a.test"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "m.test"\n[[registry.mirror]]\nlocation = "t.test"\npull-from-mirror = "all"\n[[registry]]\nlocation = "b.test"\n[[registry.mirror]]\nlocation = "m.test"\npull-from-mirror = "digest-only"\n[[registry.mirror]]\nlocation = "t.test"\npull-from-mirror = "tag-only"\n[[registry.mirror]]\nlocation = "u.test"\npull-from-mirror = "never"\n',
    settings: {
      prefixes: {
        'a.test': { mirrors: [{ url: 'https://m.test', tags: false }], origin: true },
        'b.test': { mirrors: [{ url: 'https://m.test', tags: false }], origin: true },
      },
    },
    left: {
      'registry[a.test].mirror[1]': /contradicts/u,
      'registry[b.test].mirror[1]': /tags/u,
      'registry[b.test].mirror[2]': /not all, digest-only or tag-only/u,
    },
  },
  {
    what: 'keys with a wrong type are omitted and reported, never ignored',
    text: '[[registry]]\nlocation = "a.test"\nblocked = "true"\ninsecure = "true"\n[[registry]]\nlocation = "b.test"\n[registry.mirror]\nlocation = "m.test"\n',
    settings: {},
    left: {
      'registry[a.test].blocked': /not true or false/u,
      'registry[a.test].insecure': /not true or false/u,
      'registry[b.test].mirror': /not a list of tables/u,
    },
  },
  {
    what: 'lists of the deprecated format with a wrong type are omitted',
    text: '[registries.block]\nregistries = "docker.io"\n[registries.insecure]\nregistries = ["a.test", 5]\n[registries.other]\nregistries = []\n',
    settings: { insecure: ['a.test'] },
    left: {
      'registries.block.registries': /not a list of registry names/u,
      'registries.insecure.registries[1]': /not a list of registry names/u,
      'registries.other': /has no meaning/u,
    },
  },
  {
    what: 'blocked registries, parts of registries and domains are blocked, and have no other settings',
    text: '[[registry]]\nlocation = "A.test"\nblocked = true\ninsecure = true\n[[registry.mirror]]\nlocation = "m.test"\n[[registry]]\nprefix = "b.test:5000/team"\nblocked = true\n[[registry]]\nprefix = "*.c.test"\nblocked = true\n',
    settings: {
      prefixes: {
        'a.test': { blocked: true },
        'b.test:5000/team': { blocked: true },
        '*.c.test': { blocked: true },
      },
    },
  },
  {
    what: 'plain HTTP for a part of a registry or a domain, and tables without a prefix, are omitted',
    text: '[[registry]]\nlocation = "a.test/team"\ninsecure = true\n[[registry]]\nprefix = "*.b.test"\ninsecure = true\n[[registry]]\ninsecure = true\n[[registry]]\nprefix = "a.test/app:1"\nblocked = true\n[[registry]]\nprefix = "*.b.test/team"\nblocked = true\n',
    settings: {},
    left: {
      'registry[a.test/team].insecure': /whole registry/u,
      'registry[*.b.test].insecure': /whole registry/u,
      'registry[2]': /does not name a registry/u,
      'registry[a.test/app:1]': /tag or digest/u,
      'registry[*.b.test/team]': /DOMAIN/u,
    },
  },
  {
    what: 'a mirror without a valid location is omitted',
    text: '[[registry]]\nlocation = "a.test"\n[[registry.mirror]]\nlocation = "https://user:geheim@m.test"\n[[registry.mirror]]\n',
    settings: {},
    left: { 'registry[a.test].mirror[0]': /HOST/u, 'registry[a.test].mirror[1]': /HOST/u },
  },
  {
    what: 'short names of other registries are omitted, with a finding for each alias',
    text: 'unqualified-search-registries = ["a.test", "docker.io"]\ncredential-helpers = ["pass"]\n[aliases]\nalpine = "docker.io/library/alpine"\nubi9 = "a.test/ubi9"\n',
    settings: {},
    left: {
      'unqualified-search-registries': /full names/u,
      'aliases.ubi9': /a\.test\/ubi9/u,
      'credential-helpers': /credentials/u,
    },
  },
  {
    what: 'docker.io as the only search registry is the meaning of a short name',
    text: 'unqualified-search-registries = ["docker.io"]\n',
    settings: {},
  },
  {
    what: 'the deprecated format is read as well',
    text: '[registries.search]\nregistries = ["a.test"]\n[registries.insecure]\nregistries = ["b.test"]\n[registries.block]\nregistries = ["c.test"]\n',
    settings: { insecure: ['b.test'], prefixes: { 'c.test': { blocked: true } } },
    left: { 'registries.search.registries': /full names/u },
  },
];

describe('registries.conf', () => {
  for (const { what, text, settings, left: expected = {} } of cases)
    it(what, async () => {
      assert.equal(kindOfToml(text, 'registries.conf'), 'registries');
      const imported = converted(text);
      assert.deepEqual(imported.settings['registries'] ?? {}, settings);
      const found = left(imported);
      assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort());
      for (const [key, says] of Object.entries(expected)) assert.match(found[key] ?? '', says);
      assert.ok(!JSON.stringify(imported).includes('geheim'), 'no password is repeated');
      const folder = mkdtempSync(join(tmpdir(), 'portcullis-import-'));
      try {
        writeFileSync(join(folder, 'config.yaml'), JSON.stringify(imported.settings));
        await loadDaemonConfig({ file: join(folder, 'config.yaml') });
      } finally {
        rmSync(folder, { recursive: true });
      }
    });

  it('is replaced, table by table and value by value, by its drop-ins', () => {
    const main =
      'unqualified-search-registries = ["a.test"]\n[[registry]]\nlocation = "a.test"\ninsecure = true\n[[registry]]\nlocation = "b.test"\ninsecure = true\n[aliases]\nx = "a.test/x"\n';
    const dropIn =
      'unqualified-search-registries = ["docker.io"]\n[[registry]]\nlocation = "a.test"\n[aliases]\nx = ""\n';
    const imported = converted(main, dropIn);
    assert.deepEqual(imported.settings, { registries: { insecure: ['b.test'] } });
    assert.deepEqual(left(imported), {});
  });

  it('adds its insecure registries to the insecure registries of CRI-O', () => {
    const crio = {
      kind: 'crio',
      file: 'crio.conf',
      text: '[crio.image]\ninsecure_registries = ["c.test"]\n',
    } as const;
    const text = '[[registry]]\nlocation = "a.test"\ninsecure = true\n';
    const { settings } = importConfiguration([{ kind: 'registries', file: 'registries.conf', text }, crio]);
    assert.deepEqual(settings, { registries: { insecure: ['c.test', 'a.test'] } });
  });
});

describe('config import', () => {
  const folderFor = (t: TestContext): string => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-import-'));
    t.after(() => rmSync(folder, { recursive: true }));
    return folder;
  };
  const run = (
    ...words: readonly string[]
  ): { readonly status: number | null; readonly stdout: string; readonly stderr: string } =>
    spawnSync(process.execPath, [commandFile, 'config', 'import', ...words], { encoding: 'utf8' });

  it('exits with 0 if nothing is omitted, and reads the drop-ins beside a registries.conf once', (t) => {
    const folder = folderFor(t);
    mkdirSync(join(folder, 'registries.conf.d'));
    writeFileSync(join(folder, 'registries.conf'), '[[registry]]\nlocation = "a.test"\n');
    writeFileSync(
      join(folder, 'registries.conf.d/1.conf'),
      '[[registry]]\nlocation = "b.test"\ninsecure = true\n',
    );
    writeFileSync(
      join(folder, 'registries.conf.d/2.toml'),
      '[[registry]]\nlocation = "c.test"\nblocked = true\n',
    );
    const { status, stdout } = run(join(folder, 'registries.conf'), join(folder, 'registries.conf.d'));
    assert.equal(status, 0, stdout);
    assert.match(stdout, /^registries:\n {2}insecure:\n {4}- b\.test\n/u);
    assert.ok(!stdout.includes('replaces it'), stdout);
  });

  it('exits with 1 if something is omitted, also for containerd', (t) => {
    const folder = folderFor(t);
    writeFileSync(join(folder, 'config.toml'), 'version = 3\nroot = "/mnt/containerd"\n');
    const { status, stdout } = run(join(folder, 'config.toml'));
    assert.equal(status, 1);
    assert.match(stdout, /# Left out:\n# {3}.*config\.toml: root: /u);
  });

  it('does not write an additional line for a name with a line break', (t) => {
    const folder = folderFor(t);
    const file = join(folder, 'a\nroot: b.conf');
    writeFileSync(file, '[[registry]]\nlocation = "a.test\\nroot: x"\n');
    const { stdout } = run(file);
    assert.ok(
      stdout.split('\n').every((line) => line === '' || line.startsWith('#')),
      stdout,
    );
  });

  it('refuses a device that has no end', () => {
    const { status, stderr } = run('/dev/zero');
    assert.deepEqual([status, /it is not a regular file/u.test(stderr)], [2, true], stderr);
  });
});

it('a drop-in that is a link is read like any other, and a broken link is an error', (t: TestContext) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-registries-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'registries.conf.d'));
  writeFileSync(join(folder, 'registries.conf'), '[[registry]]\nlocation = "docker.io"\ninsecure = true\n');
  writeFileSync(join(folder, 'real'), '[[registry]]\nlocation = "docker.io"\nblocked = true\n');
  symlinkSync('../real', join(folder, 'registries.conf.d/50-block.conf'));
  const imported = (): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, [commandFile, 'config', 'import', join(folder, 'registries.conf')], {
      encoding: 'utf8',
    });
  const followed = imported();
  assert.equal(followed.status, 0, String(followed.stderr));
  assert.match(String(followed.stdout), /^ {4}docker\.io:\n {6}blocked: true$/mu);
  assert.doesNotMatch(String(followed.stdout), /^ {2}insecure/mu);
  symlinkSync('nowhere', join(folder, 'registries.conf.d/60-lost.conf'));
  const lost = imported();
  assert.notEqual(lost.status, 0);
  assert.match(String(lost.stderr), /60-lost\.conf.*CLI_FILE_UNREADABLE/su);
});
