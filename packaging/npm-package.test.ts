/**
 * The packed package as a pipeline uses it: an ordinary user installs it in an empty folder, without its
 * optional packages, and runs it with the Node that runs npm. `npm run test:npm` installs every Node first,
 * signs and verifies with each of them, and also installs the optional packages.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { chmodSync, chownSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseReference } from '../base/distribution/index.ts';
import { asNobody } from '../test/fixtures/as-nobody.ts';
import { layOutPackage } from '../test/fixtures/built-bundle.ts';
import { runProgram } from '../test/fixtures/command.ts';
import type { Ended } from '../test/fixtures/command.ts';
import { buildImage, pushImage } from '../test/fixtures/image.ts';
import { startRegistry } from '../test/fixtures/registry.ts';
import type { TestRegistry } from '../test/fixtures/registry.ts';
import { openRegistries } from '../trust/index.ts';
import type { RegistryAccess } from '../trust/index.ts';
import { mockIssuer, mockSubject, startMockSigstore } from '../trust/sigstore/fixtures/mock-sigstore.ts';
import { pack } from './package.ts';

const repository = join(import.meta.dirname, '..');
const peers = process.env['PEERS'] ?? '/var/cache/portcullis-peers';
const isWide = process.env['PORTCULLIS_WIDE'] === '1';
const sbom = JSON.stringify({ bomFormat: 'CycloneDX', specVersion: '1.6', version: 1, components: [] });

/** Otherwise npm installs into the nearest folder above that has a package.json. */
const here = ['--prefix', '.'];

/** npm's own script, because the Node under test must run it. */
function findNpm(): string | undefined {
  const { status, stdout } = spawnSync('npm', ['root', '--global'], { encoding: 'utf8' });
  const script = join(stdout.trim(), 'npm/bin/npm-cli.js');
  return status === 0 && existsSync(script) ? script : undefined;
}

describe('the npm package in a pipeline', () => {
  let folder = '';
  let file = '';
  let registry: TestRegistry;
  let access: RegistryAccess;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-npm-'));
    chmodSync(folder, 0o755);
    await layOutPackage(join(folder, 'package'));
    file = join(folder, pack(join(folder, 'package'), folder));
    registry = await startRegistry();
    access = await openRegistries({ mirrors: [], insecureHosts: [] });
  });
  after(async () => {
    await access.close();
    await registry.close();
    rmSync(folder, { recursive: true });
  });

  async function publish(name: string): Promise<string> {
    const [target] = await access.repositories(parseReference(`${registry.host}/${name}`));
    assert.ok(target);
    await pushImage(target, await buildImage({}), '1');
    return `${registry.host}/${name}:1`;
  }

  /** An empty folder of the user nobody, and what runs a program there with nothing but `path`. */
  function placeOf(name: string, path: string): { at: string; run: (...words: string[]) => Promise<Ended> } {
    const at = join(folder, name);
    mkdirSync(at, { mode: 0o700 });
    chownSync(at, 65_534, 65_534);
    const env = {
      ...{ PATH: path, HOME: at, TMPDIR: at, PORTCULLIS_PASSPHRASE: 'secret' },
      ...{ npm_config_offline: 'true', npm_config_update_notifier: 'false' },
    };
    return {
      at,
      run: (program, ...words) =>
        runProgram(
          asNobody[0],
          [...asNobody.slice(1), program, ...words].filter((word) => word !== undefined),
          env,
          at,
        ),
    };
  }

  /** Signs, attests and verifies, as the pages of the documentation show it. */
  async function useIt(
    run: (...words: string[]) => Promise<Ended>,
    at: string,
    reference: string,
  ): Promise<void> {
    const reports = ['sarif=gate.sarif', 'junit=gate.xml', 'markdown=gate.md'].flatMap((one) => [
      '--report',
      one,
    ]);
    const verifier = ['--verifier-id', 'https://ci.example/gate'];
    const steps: readonly (readonly [code: number, ...words: string[]])[] = [
      [0, 'sign', '--generate-key', 'cosign'],
      [1, 'verify', reference, '--key', 'cosign.pub'],
      [0, 'sign', reference, '--key', 'cosign.key'],
      [0, 'attest', reference, '--type', 'cyclonedx', '--predicate', 'sbom.json', '--key', 'cosign.key'],
      [0, 'verify', reference, '--key', 'cosign.pub', '--output', 'json'],
      [0, 'policy', 'init', 'policy.yaml'],
      [0, 'policy', 'check', 'policy.yaml'],
      [0, 'verify', reference, '--policy', 'demand.yaml'],
      [
        0,
        'admit',
        reference,
        '--policy',
        'demand.yaml',
        ...reports,
        '--vsa',
        '--key',
        'cosign.key',
        ...verifier,
      ],
      [1, 'admit', reference, '--policy', 'refuse.yaml'],
      [0, 'entitlements', 'init', 'profile.yaml'],
      [0, 'entitlements', 'check', 'profile.yaml'],
      [0, 'images', 'copy', reference, `${reference}-copy`],
    ];
    writeFileSync(
      join(at, 'refuse.yaml'),
      'apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require: { attestation: { type: spdxjson, by: { cosign: { key: cosign.pub } } } }\n',
    );
    const demand = `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require:\n      all:\n        - cosign: { key: cosign.pub }\n        - attestation: { type: cyclonedx, by: cosign }\n`;
    writeFileSync(join(at, 'sbom.json'), sbom);
    writeFileSync(join(at, 'demand.yaml'), demand);
    for (const [code, ...words] of steps) {
      const ended = await run(...words);
      assert.equal(ended.code, code, `${words.join(' ')}: ${ended.output}`);
      // A warning of Node, such as about SQLite in 22, is not ours to print.
      assert.doesNotMatch(ended.stderr, /Warning/u, words.join(' '));
    }
  }

  const npm = findNpm();
  for (const [name, node] of [
    ['Node 22', join(peers, 'node22/bin/node')],
    ['Node 24', join(peers, 'node24/bin/node')],
    ['the pinned Node', join(repository, `node_modules/node-linux-${process.arch}/bin/node`)],
  ] as const) {
    const skip = npm === undefined ? 'no npm' : existsSync(node) ? false : `no ${name}: npm run test:npm`;
    it(`an ordinary user installs and runs it with ${name}`, { skip }, async () => {
      const bin = join(folder, `bin-${name.replaceAll(' ', '-')}`);
      mkdirSync(bin);
      symlinkSync(node, join(bin, 'node'));
      for (const [program, script] of [
        ['npm', 'npm-cli.js'],
        ['npx', 'npx-cli.js'],
      ] as const)
        symlinkSync(join(npm ?? '', '..', script), join(bin, program));
      const { at, run } = placeOf(name.replaceAll(' ', '-'), `${bin}:/usr/bin:/bin`);
      const installed = await run('npm', 'install', ...here, '--omit=optional', file);
      assert.equal(installed.code, 0, installed.output);
      assert.doesNotMatch(installed.output, /warn|deprecated|script/iu);
      const isPinned = name === 'the pinned Node';
      if (isPinned) {
        // Copies the optional packages that npm would install from a registry.
        for (const module of [`node-linux-${process.arch}`, `@koromix/koffi-linux-${process.arch}`])
          cpSync(join(repository, 'node_modules', module), join(at, 'node_modules', module), {
            recursive: true,
          });
        rmSync(join(bin, 'node'));
        assert.match((await run('node_modules/.bin/portcullis', '--version')).stdout, /^\d/u);
        symlinkSync(node, join(bin, 'node'));
      }
      assert.match((await run('npx', 'portcullis', '--version')).stdout, /^\d+\.\d+\.\d+\n$/u);
      const packed = await run('npx', '--yes', '--package', file, 'portcullis', '--version');
      assert.match(packed.stdout, /^\d+\.\d+\.\d+\n$/u, packed.output);
      // The test below without native code signs and verifies with the pinned Node.
      if (!isPinned || isWide)
        await useIt(
          (...words) => run('node_modules/.bin/portcullis', ...words),
          at,
          await publish(name.replaceAll(' ', '-').toLowerCase()),
        );
      const refused = await run('node_modules/.bin/portcullis', 'doctor');
      if (!isPinned) assert.match(refused.stderr, /CLI_NEEDS_PINNED_NODE/u, refused.output);
      else assert.ok(refused.code === 0 || refused.code === 1, refused.output);
      const daemon = await run('node_modules/.bin/portcullisd', '--print-config');
      if (!isPinned) assert.match(daemon.stderr, /CLI_NODE_MISSING/u, daemon.output);
      else assert.equal(daemon.code, 0, daemon.output);
    });
  }

  it(
    'npm installs it with the optional packages that this machine can use',
    {
      skip: isWide && npm !== undefined ? false : 'npm run test:npm',
    },
    () => {
      const at = join(folder, 'whole');
      mkdirSync(at);
      const run = spawnSync(
        process.execPath,
        [npm ?? '', 'install', ...here, '--no-audit', '--no-fund', file],
        {
          cwd: at,
          encoding: 'utf8',
        },
      );
      assert.equal(run.status, 0, run.stdout + run.stderr);
      assert.doesNotMatch(run.stdout + run.stderr, /warn|deprecated/iu);
      assert.ok(existsSync(join(at, `node_modules/node-linux-${process.arch}/bin/node`)));
      const version = spawnSync('node_modules/.bin/portcullisd', ['--print-config'], { cwd: at });
      assert.equal(version.status, 0);
    },
  );

  it('signs with a key and an identity on a system without /proc and native code, with only Node in PATH', async () => {
    const bin = join(folder, 'bin-alone');
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, 'node'));
    const { at, run } = placeOf('elsewhere', bin);
    // The user nobody needs `setpriv`, which this folder does not have.
    symlinkSync('/usr/bin/setpriv', join(bin, 'setpriv'));
    const preload = join(at, 'elsewhere.ts');
    cpSync(join(import.meta.dirname, 'elsewhere.fixture.ts'), preload);
    const portcullis = (...words: string[]): Promise<Ended> =>
      run('node', '--import', preload, join(folder, 'package/dist/portcullis.js'), ...words);
    const reference = await publish('elsewhere');
    await useIt(portcullis, at, reference);

    const services = await startMockSigstore();
    try {
      writeFileSync(join(at, 'root.json'), JSON.stringify(services.trustedRoot()));
      writeFileSync(join(at, 'config.json'), JSON.stringify(services.signingConfig({ rekor: 2 })));
      writeFileSync(join(at, 'token'), `${services.token({ rekor: 2 })}c2ln`);
      writeFileSync(
        join(at, 'identity.yaml'),
        `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require:\n      sigstore: { issuer: "${mockIssuer}", subject: "${mockSubject}", root: root.json }\n`,
      );
      const keyless = ['--keyless', '--identity-token-file', 'token', '--signing-config', 'config.json'];
      const signed = await portcullis('sign', reference, ...keyless);
      assert.equal(signed.code, 0, signed.output);
      const verified = await portcullis('verify', reference, '--policy', 'identity.yaml');
      assert.equal(verified.code, 0, verified.output);
    } finally {
      await services.close();
    }

    for (const command of ['doctor', 'quickstart', 'setup']) {
      const { code, stderr } = await portcullis(command, '--output', 'json');
      assert.equal(code, 4, stderr);
      assert.match(stderr, /"code": "CLI_NEEDS_LINUX"/u);
      assert.equal((await portcullis(command, '--help')).code, 0);
    }
    const compiled = await portcullis('entitlements', 'compile', 'profile.yaml');
    assert.match(compiled.stderr, /NATIVE_CALLS_MISSING/u, compiled.output);
  });

  it('is small, and says on which Node and systems it runs', () => {
    const size = globSync('**/*', { cwd: join(folder, 'package') })
      .map((path) => statSync(join(folder, 'package', path)))
      .reduce((sum, entry) => sum + (entry.isFile() ? entry.size : 0), 0);
    assert.ok(size < 12 * 1024 * 1024, `${size} bytes`);
    assert.ok(statSync(file).size < 3 * 1024 * 1024, `${statSync(file).size} bytes packed`);
    const manifest = JSON.parse(readFileSync(join(folder, 'package/package.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    assert.deepEqual(manifest['engines'], { node: '^22.19.0 || >=24.0.0' });
    assert.deepEqual(manifest['os'], ['linux', 'darwin']);
    assert.equal(manifest['scripts'], undefined);
  });
});
