import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { bundleMetafile } from '../test/fixtures/built-bundle.ts';

const repository = join(import.meta.dirname, '..');
const nobody = 65_534;

/**
 * A clone before its first `npm start`, with an npm of the test's own: no test here contacts a registry or
 * installs a package.
 */
describe('packaging/prepare', () => {
  let clone = '';
  let npmLog = '';

  before(() => {
    clone = mkdtempSync(join(tmpdir(), 'portcullis-prepare-'));
    chmodSync(clone, 0o755);
    npmLog = join(clone, 'npm.log');
    cpSync(join(repository, 'packaging'), join(clone, 'packaging'), { recursive: true });
    writeFileSync(join(clone, 'package-lock.json'), '{ "packages": { "": {} } }');
    mkdirSync(join(clone, 'cache/debian/usr/bin'), { recursive: true });
    mkdirSync(join(clone, 'cache/debian/bin'), { recursive: true });
    program('cache/debian/usr/bin/docker-registry', 'exit 0');
    writeFileSync(join(clone, 'fedora'), 'ID=fedora\nVERSION_ID=44\nPRETTY_NAME="Fedora Linux 44"\n');
    writeFileSync(
      join(clone, 'bullseye'),
      'ID=debian\nVERSION_ID="11"\nPRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\n',
    );
  });
  after(() => rmSync(clone, { recursive: true }));

  function program(path: string, body: string): void {
    mkdirSync(join(clone, path, '..'), { recursive: true });
    writeFileSync(join(clone, path), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  }
  /** Writes an npm that records its calls, and runs `ci` as its installation. */
  function npm(ci: string, version = '9.2.0'): void {
    rmSync(npmLog, { force: true });
    program('bin/npm', `echo "$*" >>${npmLog}\ncase $1 in --version) echo ${version} ;; ci) ${ci} ;; esac`);
  }
  const layOutTree = (): string => {
    const folder = `node_modules/node-linux-${process.arch}/bin`;
    return `mkdir -p ${folder} node_modules/.bin; ln -s ${process.execPath} ${folder}/node`;
  };
  function environment(more: Record<string, string> = {}): NodeJS.ProcessEnv {
    return {
      PATH: `${join(clone, 'bin')}:/usr/sbin:/usr/bin:/sbin:/bin`,
      PORTCULLIS_CACHE: join(clone, 'cache'),
      ...more,
    };
  }
  function prepare(
    more: Record<string, string> = {},
    uid = 0,
    purpose = 'test',
  ): { status: number | null; text: string; seconds: number } {
    const started = performance.now();
    const run = spawnSync('dash', [join(clone, 'packaging/prepare'), purpose], {
      cwd: '/',
      env: environment(more),
      encoding: 'utf8',
      uid,
    });
    return {
      status: run.status,
      text: run.stdout + run.stderr,
      seconds: (performance.now() - started) / 1000,
    };
  }
  const untouched = (): void => {
    assert.equal(existsSync(join(clone, 'node_modules')), false);
    assert.deepEqual(readdirSync(join(clone, 'cache')), ['debian']);
  };

  it('a user other than root: one message names root and each missing thing, and nothing is changed', () => {
    npm('exit 1');
    const { status, text } = prepare({}, nobody);
    assert.equal(status, 2);
    assert.match(text, /Nothing was installed/);
    assert.match(text, /missing {2}root .*run it again with sudo/);
    assert.match(text, /missing {2}npm packages .*npm ci/);
    untouched();
  });

  for (const { release, name } of [
    { release: 'fedora', name: 'Fedora Linux 44' },
    { release: 'bullseye', name: 'Debian GNU/Linux 11 (bullseye)' },
  ]) {
    it(`${name}: one message says where to get each missing thing, and nothing is changed`, () => {
      npm('exit 1');
      rmSync(join(clone, 'cache/debian/usr/bin/docker-registry'));
      const { status, text } = prepare({ PORTCULLIS_OS_RELEASE: join(clone, release) });
      program('cache/debian/usr/bin/docker-registry', 'exit 0');
      assert.equal(status, 2);
      assert.ok(text.includes(`this is ${name}`), text);
      assert.match(text, /missing {2}docker-registry .*github\.com\/distribution\/distribution/);
      assert.match(text, /missing {2}npm packages/);
      untouched();
    });
  }

  it('start: leaves out what only the tests need', () => {
    npm('exit 1');
    const list = join(clone, 'packaging/debian-packages');
    const before = readFileSync(list);
    writeFileSync(
      list,
      'shell|/none/shell|story|install|a shell|https://example.com\ntoken|/none/token|tests|install|a token|https://example.com\n',
    );
    const missing = (purpose: string): readonly string[] =>
      [
        ...prepare({ PORTCULLIS_OS_RELEASE: join(clone, 'fedora') }, 0, purpose).text.matchAll(
          /missing {2}(shell|token)/gu,
        ),
      ].map(([, name = '']) => name);
    assert.deepEqual(missing('start'), ['shell']);
    assert.deepEqual(missing('test'), ['shell', 'token']);
    writeFileSync(list, before);
    untouched();
  });

  it('reports an npm that cannot read the lock file', () => {
    npm('exit 1', '6.14.4');
    const { status, text } = prepare();
    assert.equal(status, 2);
    assert.match(text, /npm 7 or newer .*npm 6\.14\.4/);
    untouched();
  });

  it('a failing npm: shows its message and what to do, and does not mark the tree as complete', () => {
    npm('mkdir -p node_modules; echo "npm ERR! network" >&2; exit 1');
    const { status, text } = prepare();
    assert.equal(status, 1);
    assert.match(text, /npm ERR! network/);
    assert.equal(existsSync(join(clone, 'node_modules/.portcullis-stamp')), false);
    rmSync(join(clone, 'node_modules'), { recursive: true });
    untouched();
  });

  it('interrupted: removes its temporary files, and the next run starts again', async () => {
    npm('mkdir -p node_modules; sleep 30');
    const child = spawn('dash', [join(clone, 'packaging/prepare')], {
      env: environment(),
      stdio: 'ignore',
      detached: true,
    });
    const exited = once(child, 'exit') as Promise<[number | null]>;
    while (!existsSync(join(clone, 'node_modules'))) {
      assert.equal(child.exitCode, null, 'it ended before npm began');
      await pause(10);
    }
    process.kill(-(child.pid ?? 0), 'SIGINT');
    const [code] = await exited;
    assert.equal(code, 130);
    assert.equal(existsSync(join(clone, 'node_modules/.portcullis-stamp')), false);
    rmSync(join(clone, 'node_modules'), { recursive: true });
    untouched();
  });

  it('installs what is missing once, by the lock file and without install scripts', () => {
    npm(layOutTree());
    const { status, text } = prepare();
    assert.equal(status, 0, text);
    assert.match(text, /npm packages {5}\S/);
    assert.match(readFileSync(npmLog, 'utf8'), /^ci .*--ignore-scripts/m);
  });

  it('packages: installs only the npm packages, for any user on any Linux', () => {
    const before = readFileSync(join(clone, 'package-lock.json'));
    rmSync(join(clone, 'node_modules'), { recursive: true });
    npm(layOutTree());
    writeFileSync(npmLog, '');
    chmodSync(npmLog, 0o666);
    chmodSync(clone, 0o777);
    rmSync(join(clone, 'cache/debian/usr/bin/docker-registry'));
    const temporary = mkdtempSync(join(tmpdir(), 'portcullis-prepare-'));
    chmodSync(temporary, 0o777);
    try {
      const { status, text } = prepare(
        { PORTCULLIS_OS_RELEASE: join(clone, 'fedora'), TMPDIR: temporary },
        nobody,
        'packages',
      );
      assert.equal(status, 0, text);
      assert.match(readFileSync(npmLog, 'utf8'), /^ci /m);
      assert.deepEqual(readFileSync(join(clone, 'package-lock.json')), before);
      assert.deepEqual(readdirSync(temporary), []);
      assert.deepEqual(readdirSync(join(clone, 'cache')), ['debian']);
    } finally {
      rmSync(temporary, { recursive: true });
      chmodSync(clone, 0o755);
      program('cache/debian/usr/bin/docker-registry', 'exit 0');
    }
  });

  it('then finds nothing missing, prints nothing and uses no network', () => {
    npm('exit 1');
    const { status, text } = prepare({ PORTCULLIS_OS_RELEASE: join(clone, 'fedora') });
    assert.deepEqual({ status, text }, { status: 0, text: '' });
    assert.equal(existsSync(npmLog), false);
  });

  it('unpacks the programs of a package that has them in /usr/bin and /usr/sbin, as in Debian 13', () => {
    const cache = join(clone, 'cache/debian');
    rmSync(join(cache, 'usr/bin/docker-registry'));
    // apt-get that downloads a package with programs of three packages.
    const files = 'usr/bin/docker-registry usr/bin/busybox usr/sbin/apparmor_parser';
    const control =
      'Package: p\\nVersion: 1\\nArchitecture: all\\nMaintainer: m <m@localhost>\\nDescription: d\\n';
    program(
      'bin/apt-get',
      `case "$*" in *download*) ;; *) exit 0 ;; esac
mkdir -p new/DEBIAN new/usr/bin new/usr/sbin
for file in ${files}; do printf '#!/bin/sh\\n' >new/$file; chmod 755 new/$file; done
printf '${control}' >new/DEBIAN/control
dpkg-deb -b new p.deb && rm -r new`,
    );
    try {
      const { status, text } = prepare();
      assert.equal(status, 0, text);
      for (const path of ['usr/bin/docker-registry', 'bin/busybox', 'sbin/apparmor_parser'])
        assert.ok(existsSync(join(cache, path)), path);
      assert.equal(prepare().text, '');
    } finally {
      for (const path of ['bin/apt-get', 'cache/debian/bin/busybox', 'cache/debian/sbin'])
        rmSync(join(clone, path), { recursive: true });
    }
  });

  it('a changed lock file: installs again', () => {
    writeFileSync(
      join(clone, 'package-lock.json'),
      '{ "packages": { "": {}, "node_modules/new": { "version": "1.0.0" } } }',
    );
    npm(`rm -rf node_modules; ${layOutTree()}`);
    assert.equal(prepare().status, 0);
    assert.match(readFileSync(npmLog, 'utf8'), /^ci /m);
  });

  it('a lock file that was changed together with the tree: installs nothing', () => {
    const packages = {
      '': {},
      'node_modules/new': { version: '2.0.0' },
      'node_modules/other': { version: '1.0.0', optional: true, os: ['win32'] },
    };
    writeFileSync(join(clone, 'package-lock.json'), JSON.stringify({ packages }));
    writeFileSync(
      join(clone, 'node_modules/.package-lock.json'),
      '{ "packages": { "node_modules/new": { "version": "2.0.0" } } }',
    );
    npm('exit 1');
    assert.deepEqual([prepare().status, existsSync(npmLog)], [0, false]);
  });
});

describe('the launchers', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-launchers-'));
  });
  after(() => rmSync(folder, { recursive: true }));
  const show =
    'process.stdout.write(JSON.stringify({ argv: process.argv.slice(2), flags: process.execArgv, malloc: Object.entries(process.env).filter(([name]) => name.startsWith("MALLOC_")).map((each) => each.join("=")), main: process.argv[1] }))';

  function launch(
    command: string,
    args: string[],
  ): { argv: string[]; flags: string[]; malloc: string[]; main: string } {
    const run = spawnSync(command, args, {
      cwd: '/',
      encoding: 'utf8',
      env: { PATH: '/usr/bin:/bin', NODE_COMPILE_CACHE: join(folder, 'compiled') },
    });
    assert.equal(run.status, 0, run.stderr);
    return JSON.parse(run.stdout) as ReturnType<typeof launch>;
  }
  /** Creates a package in `at`, its Node in `modules`. */
  function install(at: string, modules: string): string {
    mkdirSync(join(at, 'dist'), { recursive: true });
    cpSync(join(repository, 'packaging/bin'), join(at, 'packaging/bin'), { recursive: true });
    writeFileSync(join(at, 'dist/portcullis.js'), show);
    mkdirSync(join(modules, `node-linux-${process.arch}/bin`), { recursive: true });
    symlinkSync(process.execPath, join(modules, `node-linux-${process.arch}/bin/node`));
    return join(at, 'packaging/bin/portcullis');
  }

  it('run from another folder, through symbolic links', () => {
    const command = install(join(folder, 'plain'), join(folder, 'plain/node_modules'));
    symlinkSync(command, join(folder, 'link'));
    symlinkSync('link', join(folder, 'relative'));
    assert.deepEqual(launch(join(folder, 'relative'), ['verify', 'a b']).argv, ['verify', 'a b']);
  });

  it('run with an empty PATH', () => {
    const command = install(join(folder, 'pathless'), join(folder, 'pathless/node_modules'));
    for (const launcher of [command, `${command}d`]) {
      const run = spawnSync(launcher, ['ps'], { encoding: 'utf8', env: { PATH: '' } });
      assert.deepEqual([run.status, run.stderr], [0, '']);
    }
  });

  it('find a Node that npm hoisted', () => {
    const command = install(join(folder, 'app/node_modules/portcullis'), join(folder, 'app/node_modules'));
    assert.deepEqual(launch(command, ['ps']).argv, ['ps']);
  });

  it('give the daemon its memory settings', () => {
    const command = install(join(folder, 'daemon'), join(folder, 'daemon/node_modules'));
    const started = launch(`${command}d`, ['--socket', '/s']);
    assert.deepEqual(started.argv, ['daemon', '--socket', '/s']);
    assert.deepEqual(started.flags, [
      '--max-semi-space-size=4',
      '--min-semi-space-size=4',
      '--initial-old-space-size=64',
      '--single-threaded-gc',
      '--no-short-builtin-calls',
      '--no-memory-pool-share-memory-on-teardown',
      '--memory-pool-timeout=1',
      '--expose-gc',
    ]);
    assert.deepEqual(started.malloc.toSorted(), ['MALLOC_ARENA_MAX=1']);
  });

  it('give the trust service its memory settings, but not other commands of trust', () => {
    const command = install(join(folder, 'trust'), join(folder, 'trust/node_modules'));
    const serving = launch(command, ['trust', 'serve', '--listen', ':4443']);
    assert.deepEqual(serving.argv, ['trust', 'serve', '--listen', ':4443']);
    assert.deepEqual(serving.flags, ['--max-semi-space-size=32', '--single-threaded-gc']);
    assert.deepEqual(launch(command, ['trust', 'list', 'serve']).flags, []);
  });

  /** Installs a package without the pinned Node. PATH has what the launcher calls, and perhaps a Node. */
  function installBare(at: string, version?: string): { command: string; env: Record<string, string> } {
    const command = install(join(folder, at), join(folder, `${at}-elsewhere`));
    const bin = join(folder, `${at}-bin`);
    mkdirSync(bin);
    for (const program of ['sh', 'readlink', 'uname', 'id', 'mkdir'])
      symlinkSync(`/bin/${program}`, join(bin, program));
    const text = `#!/bin/sh\n[ "$1" != --version ] || { echo ${version ?? ''}; exit; }\nexec '${process.execPath}' "$@"\n`;
    if (version !== undefined) writeFileSync(join(bin, 'node'), text, { mode: 0o755 });
    return { command, env: { PATH: bin, NODE_COMPILE_CACHE: join(folder, 'compiled') } };
  }

  it('run with the Node of npm if the pinned Node is not installed', () => {
    const { command, env } = installBare('found', 'v22.19.0');
    const run = spawnSync(command, ['verify', 'a b'], { encoding: 'utf8', env });
    assert.equal(run.status, 0, run.stderr);
    const started = JSON.parse(run.stdout) as ReturnType<typeof launch>;
    assert.deepEqual(started.argv, ['verify', 'a b']);
    assert.deepEqual(started.flags, ['--disable-warning=ExperimentalWarning']);
    // npm names its own Node: a folder with another one may be first in PATH.
    const old = installBare('shadowed', 'v20.0.0');
    const named = { ...old.env, npm_node_execpath: join(folder, 'found-bin/node') };
    assert.equal(spawnSync(old.command, ['ps'], { encoding: 'utf8', env: named }).status, 0);
  });

  for (const version of ['v18.20.8', 'v22.18.0', 'v23.11.1', 'nonsense'])
    it(`refuse Node ${version}`, () => {
      const { command, env } = installBare(`old-${version}`, version);
      const run = spawnSync(command, ['verify'], { encoding: 'utf8', env });
      assert.equal(run.status, 4);
      assert.match(
        run.stderr,
        /^portcullis: run .* is \S+; use Node 22\.19 or later.* \[CLI_NODE_TOO_OLD\]\n$/u,
      );
    });

  it('report a missing Node, and start the daemon only with the pinned Node', () => {
    const { command, env } = installBare('bare');
    const run = spawnSync(command, [], { encoding: 'utf8', env });
    assert.equal(run.status, 4);
    assert.match(run.stderr, /CLI_NODE_MISSING/);
    const found = installBare('daemon-only', 'v24.21.0');
    const daemon = spawnSync(`${found.command}d`, [], {
      encoding: 'utf8',
      env: { ...found.env, PATH: `${found.env['PATH'] ?? ''}:/usr/bin` },
    });
    assert.equal(daemon.status, 4);
    assert.match(daemon.stderr, /CLI_NODE_MISSING/);
  });

  for (const closed of ['node_modules', 'node_modules/node-linux-ARCH/bin/node', 'dist'])
    it(`report that the user cannot read ${closed}`, () => {
      const at = mkdtempSync(join(tmpdir(), 'portcullis-closed-'));
      try {
        chmodSync(at, 0o755);
        const command = install(at, join(at, 'node_modules'));
        const node = join(at, `node_modules/node-linux-${process.arch}/bin/node`);
        rmSync(node);
        writeFileSync(node, '#!/bin/sh\nexit 0\n', { mode: 0o755 });
        chmodSync(join(at, closed.replace('ARCH', process.arch)), 0o700);
        const run = spawnSync(command, [], { encoding: 'utf8', uid: 65_534, gid: 65_534, cwd: '/' });
        assert.equal(run.status, 4);
        assert.match(
          run.stderr,
          /^portcullis: run .*: nobody cannot .*; install the package where this user may read it.* \[CLI_NO_ACCESS\]\n$/u,
        );
      } finally {
        rmSync(at, { recursive: true });
      }
    });

  it('keep compiled code only in a folder that no other user can write to', () => {
    const at = mkdtempSync(join(tmpdir(), 'portcullis-compiled-'));
    try {
      chmodSync(at, 0o755);
      const command = install(at, join(at, 'node_modules'));
      const node = join(at, `node_modules/node-linux-${process.arch}/bin/node`);
      rmSync(node);
      writeFileSync(node, '#!/bin/sh\nprintf %s "${NODE_COMPILE_CACHE:-none}"\n', { mode: 0o755 });
      const kept = (name: string, prepare: (compiled: string) => void): string => {
        const home = join(at, name);
        mkdirSync(join(home, '.cache/portcullis'), { recursive: true });
        const compiled = join(home, '.cache/portcullis/compiled');
        prepare(compiled);
        spawnSync('chown', ['-hR', `${nobody}:${nobody}`, home]);
        const env = { PATH: '/usr/bin:/bin', HOME: home };
        const run = spawnSync(command, [], { encoding: 'utf8', uid: nobody, gid: nobody, cwd: '/', env });
        return run.stdout === compiled ? 'used' : `${run.stdout}${run.stderr}`;
      };
      const folderOf = (mode: number) => (compiled: string) => {
        mkdirSync(compiled);
        chmodSync(compiled, mode);
      };
      assert.deepEqual(
        {
          absent: kept('absent', () => undefined),
          own: kept('own', folderOf(0o755)),
          ofGroup: kept('group', folderOf(0o720)),
          ofAll: kept('all', folderOf(0o702)),
          link: kept('link', (compiled) => {
            mkdirSync(`${compiled}.there`);
            symlinkSync(`${compiled}.there`, compiled);
          }),
        },
        { absent: 'used', own: 'used', ofGroup: 'none', ofAll: 'none', link: 'none' },
      );
    } finally {
      rmSync(at, { recursive: true });
    }
  });

  it('run the sources of a checkout while they are newer than the bundle', () => {
    const at = join(folder, 'checkout');
    const command = install(at, join(at, 'node_modules'));
    for (const room of [
      'base',
      'trust',
      'entitlements',
      'cni-plugins',
      'fleet',
      'admission',
      'runtime',
      'node',
      'cli',
    ])
      mkdirSync(join(at, room));
    writeFileSync(join(at, 'cli/main.ts'), show);
    // Set explicitly, not by the clock: two writes within one kernel tick have the same time.
    const bundleIsFrom = (seconds: number): void =>
      utimesSync(join(at, 'dist/portcullis.js'), seconds, seconds);
    bundleIsFrom(Date.now() / 1000 - 60);
    assert.equal(launch(command, []).main, join(at, 'cli/main.ts'));
    bundleIsFrom(Date.now() / 1000 + 60);
    assert.equal(launch(command, []).main, join(at, 'dist/portcullis.js'));
  });

  it('run the sources while any file that the bundle contains is newer', async () => {
    const { inputs } = await bundleMetafile();
    const bundled = Object.keys(inputs)
      // The generator of the validators is a part of the build.
      .filter((input) => !/^(?:node_modules|packaging)\//u.test(input) && !input.includes(':'))
      .map((input) => input.split('/')[0] ?? '');
    const at = join(folder, 'rooms');
    install(at, join(at, 'node_modules'));
    const age = (file: string, seconds: number): void => {
      writeFileSync(join(at, file), '');
      utimesSync(join(at, file), Date.now() / 1000 + seconds, Date.now() / 1000 + seconds);
    };
    const missed = [...new Set(bundled)].filter((top) => {
      const file = top.includes('.') ? top : join(top, 'source.ts');
      mkdirSync(join(at, dirname(file)), { recursive: true });
      age(file, 60);
      const { stdout } = spawnSync(join(at, 'packaging/bin/newer-sources'), { encoding: 'utf8' });
      age(file, -60);
      return stdout !== `${file}\n`;
    });
    assert.deepEqual(missed, []);
  });

  // prepare refuses such a package, so `npm test` and `npm start` would fail there on every fresh machine.
  it('no package that it installs would enable a service', () => {
    const installed = readFileSync(join(repository, 'packaging/debian-packages'), 'utf8')
      .split('\n')
      .map((line) => line.split('|'))
      // util-linux is on every Debian: it is never installed here.
      .filter(([name = '', , , how]) => !name.startsWith('#') && how === 'install' && name !== 'util-linux')
      .map(([name = '']) => `/var/lib/dpkg/info/${name}.postinst`)
      .filter((script) => existsSync(script));
    const enabling = installed.filter((script) => {
      const text = readFileSync(script, 'utf8');
      return (
        /deb-systemd-helper enable|update-rc\.d.*defaults/.test(text) &&
        !text.includes('deb-systemd-helper debian-installed')
      );
    });
    assert.deepEqual(enabling, []);
  });
});
