import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { layOutPackage } from '../fixtures/built-bundle.ts';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { runProgram } from '../fixtures/command.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { serveHttp, startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry, TestServer } from '../fixtures/registry.ts';
import { findTool } from '../fixtures/tools.ts';

const repository = join(import.meta.dirname, '../..');
const crictl = findTool('crictl');

/** Returns the shell blocks of the section "Use it" of README.md, in order. */
function blocks(): string[] {
  const [, section = ''] =
    /\n## Use it\n([^]*?)\n## /u.exec(readFileSync(join(repository, 'README.md'), 'utf8')) ?? [];
  return [...section.matchAll(/^```sh\n([^]*?)^```$/gmu)].map(([, text = '']) => text);
}

/**
 * Serves the installed packages of this checkout as an npm registry does, because a test needs no network:
 * without the headers and manuals of Node.
 */
async function serveNpm(folder: string): Promise<TestServer> {
  const packed = (name: string): string => {
    const file = join(folder, `${name.replaceAll('/', '+')}.tar`);
    const words = [
      '-C',
      join(repository, 'node_modules', name),
      '--exclude=./include',
      '--exclude=./share',
      '--transform',
      's,^\\.,package,',
      '-cf',
      file,
      '.',
    ];
    if (!existsSync(file)) execFileSync('tar', words);
    return file;
  };
  return serveHttp((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://npm').pathname).slice(1);
    const name = path.replace(/\.tar$/u, '');
    const manifest = join(repository, 'node_modules', name, 'package.json');
    if (!/^(@[\w-]+\/)?[\w-]+$/u.test(name) || !existsSync(manifest)) response.writeHead(404).end();
    else if (path.endsWith('.tar')) response.end(readFileSync(packed(name)));
    else {
      const version = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
      const dist = { tarball: `http://${request.headers.host ?? ''}/${name}.tar` };
      const versions = { [version.version]: { ...version, dist } };
      response.end(JSON.stringify({ name, 'dist-tags': { latest: version.version }, versions }));
    }
  });
}

/**
 * README.md, "Use it", as a user runs it: every command block from top to bottom, in one shell, in which each
 * command must succeed. The test differs from the text in these points:
 *
 * - `registry.example.com` is a registry of the test, which has the image `team/web:1`.
 * - `npm run package` packs the same package without its type declarations, in a folder of the test.
 * - npm installs from a registry of the test into a folder of the test, which is on the path.
 * - /etc, /run, /var/lib and /var/log are private to the test.
 */
describe('README.md, "Use it"', { skip: crictl.skip }, () => {
  let folder = '';
  let registry: TestRegistry;
  let npm: TestServer;
  const mounted: string[] = [];
  const mount = (at: string, ...words: string[]): void => {
    execFileSync('mount', [...words, at]);
    mounted.unshift(at);
  };

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-readme-'));
    const inside = (...names: string[]): string => {
      mkdirSync(join(folder, ...names), { recursive: true });
      return join(folder, ...names);
    };
    for (const path of ['/etc', '/var/lib']) {
      const name = path.slice(1).replace('/', '-');
      mount(
        path,
        '-t',
        'overlay',
        'overlay',
        '-o',
        `lowerdir=${path},upperdir=${inside(name, 'upper')},workdir=${inside(name, 'work')}`,
      );
    }
    // An overlay cannot hold the layers of images.
    mkdirSync('/var/lib/portcullis', { recursive: true });
    mount('/var/lib/portcullis', '--bind', inside('root'));
    for (const path of ['/run', '/var/log']) mount(path, '-t', 'tmpfs', 'tmpfs');
    registry = await startRegistry();
    npm = await serveNpm(inside('npm'));
    const client = createRegistryClient({ tagSettleMs: 0 });
    const [team] = client.repositories({ registry: registry.host, repository: 'team/web' });
    assert.ok(team);
    await pushImage(team, await buildImage(), '1');
    await client.close();
    await layOutPackage(inside('package'));
    inside('checkout', 'dist');
    symlinkSync(join(repository, 'packaging'), join(folder, 'checkout/packaging'));
  });

  after(async () => {
    await npm.close();
    await registry.close();
    for (const path of mounted) execFileSync('umount', ['-l', path]);
    rmSync(folder, { recursive: true, force: true });
  });

  it('runs from top to bottom: installs, sets up, signs, runs a pod, and explains', async () => {
    const text = blocks().join('\n');
    for (const command of [
      'npm install',
      'portcullis setup',
      'portcullis sign',
      'portcullisd',
      'crictl --timeout 60s run',
      'portcullis verify',
    ])
      assert.ok(text.includes(`\n${command} `), command);
    const script = join(folder, 'use-it.sh');
    const substituted = text
      .replaceAll('registry.example.com', registry.host)
      .replace('npm run package', `npm pack --silent --pack-destination dist ${join(folder, 'package')}`);
    // The shell ends the daemon, and then itself.
    const around = [
      "trap 'kill %1 2>/dev/null; wait' EXIT",
      substituted,
      'crictl rmp --all --force',
      'kill %1',
      'wait %1',
      'trap - EXIT',
    ];
    writeFileSync(script, `set -eu\n${around.join('\n')}\n`);
    const prefix = join(folder, 'global');
    const environment = {
      PATH: [join(prefix, 'bin'), join(crictl.path, '..'), process.env['PATH'] ?? ''].join(':'),
      HOME: folder,
      npm_config_registry: npm.url,
      npm_config_prefix: prefix,
      npm_config_cache: join(folder, 'cache'),
    };
    const { code, stdout, stderr } = await runProgram(
      'bash',
      [script],
      environment,
      join(folder, 'checkout'),
    );
    const log = join(folder, 'checkout/portcullisd.log');
    const said = `${stdout}\n${stderr}\n${existsSync(log) ? readFileSync(log, 'utf8').slice(-3000) : ''}`;
    assert.equal(code, 0, said);
    assert.match(stdout, /^[0-9a-f]{13} .* Running .* web /mu, said);
    assert.match(stdout, /^signed sha256:[0-9a-f]{64}/mu, said);
    assert.match(stdout, /admitted/u, said);
    assert.equal(
      basename(execFileSync('readlink', ['-f', join(prefix, 'bin/portcullis')], { encoding: 'utf8' }).trim()),
      'portcullis',
    );
  });
});
