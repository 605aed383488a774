import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import manifest from '../../package.json' with { type: 'json' };
import { buildImages, images } from '../../packaging/oci/images.ts';
import { makeCertificate } from '../fixtures/certificate.ts';
import { portcullis, runProgram } from '../fixtures/command.ts';
import { runElsewhere } from '../fixtures/other-checkout.ts';
import { execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { ContainerAsk, Pod } from '../fixtures/pod.ts';
import { openStage, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { eventually } from '../webhook/test-cluster.ts';

const root = join(import.meta.dirname, '../..');
const names = Object.keys(images);
const builder = 'https://portcullis.dev/release/builder';
const options = { time: 1_700_000_000, revision: 'a'.repeat(40), source: 'https://example.com/source' };

/** Every security context that a cluster with pod security `restricted` admits. */
const restricted: NonNullable<ContainerAsk['security']> = {
  runAsUser: { value: 65532 },
  runAsGroup: { value: 65532 },
  readonlyRootfs: true,
  noNewPrivs: true,
  capabilities: { dropCapabilities: ['ALL'] },
};

describe('the images of a release', { timeout: 3_000_000 }, () => {
  let folder = '';
  let stage: Stage;
  let digests: Readonly<Record<string, string>> = {};
  const at = (name: string): string => join(folder, name);
  const layout = (): string => at('first/images');
  const reference = (name: string): string => `${registryName}/portcullis/${name}:1`;
  const pushed = (name: string): string => `${stage.registry.host}/portcullis/${name}:1`;
  const command = async (...words: readonly string[]): Promise<string> => {
    const { code, output } = await portcullis(words);
    assert.equal(code, 0, output);
    return output;
  };
  const admit = (image: string) =>
    portcullis(['admit', image, '--policy', at('policy.yaml'), '--trust-state', at('state')]);

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-oci-images-'));
    chmodSync(folder, 0o711);
    mkdirSync(at('first'));
    digests = await buildImages(at('first'), options);
    const shipped = readFileSync(join(root, 'packaging/policies/release.yaml'), 'utf8');
    const policy = (host: string): string =>
      shipped
        .replaceAll('registry.example.com', host)
        .replaceAll('release.pub', 'k.pub')
        .replace('    require:', '    entitlements: { ceiling: privileged }\n    require:');
    stage = await openStage({ policy: policy(registryName) });
    writeFileSync(at('policy.yaml'), policy(stage.registry.host));
    writeFileSync(at('k.pub'), readFileSync(join(stage.folders.policy, 'k.pub')));
    writeFileSync(
      at('provenance.json'),
      JSON.stringify({
        buildDefinition: {
          buildType: 'https://portcullis.dev/release/v1',
          externalParameters: { source: options.source, ref: options.revision },
        },
        runDetails: { builder: { id: builder } },
      }),
    );
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('have the same bytes from another checkout, path, umask, time zone, locale and host', () => {
    const copy = at('a/longer path/to the/copy');
    mkdirSync(at('second'));
    const program = `const { buildImages } = await import(process.argv[1]); await buildImages(process.argv[2], JSON.parse(process.argv[3]));`;
    runElsewhere(copy, program, [
      join(copy, 'packaging/oci/images.ts'),
      at('second'),
      JSON.stringify(options),
    ]);
    assert.deepEqual(sumsBelow(at('second')), sumsBelow(at('first')));
  });

  it('are indices for amd64 and arm64 with labels, a user other than root, and no shell', () => {
    const blob = (digest: string): Json =>
      JSON.parse(readFileSync(join(layout(), 'blobs', digest.replace(':', '/')), 'utf8')) as Json;
    for (const name of names) {
      const { manifests } = blob(digests[name] ?? '') as unknown as {
        manifests: { digest: string; platform: { architecture: string } }[];
      };
      assert.deepEqual(
        manifests.map(({ platform }) => platform.architecture),
        ['amd64', 'arm64'],
      );
      for (const { digest } of manifests) {
        const { config } = blob(digest) as unknown as { config: { digest: string } };
        const image = blob(config.digest) as unknown as {
          config: { User: string; Labels: Record<string, string> };
        };
        assert.equal(image.config.User, '65532:65532');
        assert.equal(image.config.Labels['org.opencontainers.image.version'], manifest.version);
        assert.equal(image.config.Labels['org.opencontainers.image.revision'], options.revision);
      }
    }
  });

  it('are refused by the policy that ships until they are signed and attested', async () => {
    for (const name of names) {
      await command('images', 'push', layout(), pushed(name), '--image', name);
      const { code, output } = await admit(pushed(name));
      assert.equal(code, 1, output);
    }
    for (const name of names) {
      const key = ['--key', join(stage.folders.folder, 'k.key')];
      for (const [type, predicate] of [
        ['slsaprovenance1', at('provenance.json')],
        ['spdxjson', at(`first/${name}.spdx.json`)],
        ['cyclonedx', at(`first/${name}.cdx.json`)],
      ] as const)
        await command('attest', pushed(name), '--type', type, '--predicate', predicate, ...key);
      await command('sign', pushed(name), ...key);
      const { code, output } = await admit(pushed(name));
      assert.equal(code, 0, output);
      const { descriptors } = await stage.repository(`portcullis/${name}`).referrers(digests[name] ?? '');
      assert.equal(descriptors.length, 4, 'a signature, two SBOMs and a provenance');
    }
  });

  it('are refused if one byte differs', async () => {
    cpSync(layout(), at('changed'), { recursive: true });
    const file = (digest: string): string => at(`changed/blobs/${digest.replace(':', '/')}`);
    const bytes = readFileSync(file(digests['trust'] ?? ''), 'utf8').replace(
      options.revision,
      'b'.repeat(40),
    );
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    writeFileSync(file(digest), bytes);
    const index = readFileSync(at('changed/index.json'), 'utf8');
    writeFileSync(at('changed/index.json'), index.replace(digests['trust'] ?? '', digest));
    const tag = pushed('trust').replace(/:1$/u, ':changed');
    await command('images', 'push', at('changed'), tag, '--image', 'trust');
    const { code, output } = await admit(tag);
    assert.equal(code, 1, output);
  });

  /** Runs an image as the cluster does, and returns its container, its pod and the address. */
  async function start(
    name: string,
    args: readonly string[],
    more: {
      readonly security?: typeof restricted;
      readonly mounts?: readonly (readonly [string, string])[];
    } = {},
  ): Promise<{ readonly id: string; readonly pod: Pod; readonly address: string }> {
    const image = await stage.pull(reference(name));
    const { privileged = false } = more.security ?? restricted;
    const pod = await runPod(stage, name, { linux: { securityContext: { privileged } } });
    mkdirSync(join(stage.logs, name, 'main'), { recursive: true });
    const mounts = (more.mounts ?? []).map(([hostPath, containerPath]) => ({ hostPath, containerPath }));
    const ask = { args: [...args], mounts };
    const id = await runContainer(stage, pod, {
      ...{ image, reference: reference(name), security: more.security ?? restricted },
      more: ask,
    });
    const { status } = await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id });
    return { id, pod, address: status?.network?.ip ?? '' };
  }
  const log = (name: string): string => readFileSync(join(stage.logs, name, 'main/0.log'), 'utf8');

  /** A folder that the user of the images may write to. */
  function writable(name: string): string {
    mkdirSync(at(name));
    chmodSync(at(name), 0o777);
    return at(name);
  }

  function readable(name: string, files: Readonly<Record<string, string>>): string {
    mkdirSync(at(name));
    const pair = makeCertificate(at(name), 'server', {
      more: ['-addext', 'subjectAltName=DNS:service.test'],
    });
    writeFileSync(at(`${name}/tls.key`), readFileSync(pair.key));
    writeFileSync(at(`${name}/tls.crt`), readFileSync(pair.certificate));
    for (const [file, content] of Object.entries(files)) writeFileSync(at(`${name}/${file}`), content);
    for (const file of readdirSync(at(name))) chmodSync(at(`${name}/${file}`), 0o644);
    return at(name);
  }

  it('trust: answers over TLS, as a user other than root, on a read-only root, without a shell', async () => {
    const files = readable('trust-files', {});
    const { id, pod, address } = await start(
      'trust',
      [
        ...['--listen=:4443', '--data=/var/lib/portcullis/trust/data'],
        ...['--tls-cert=/etc/portcullis/tls/tls.crt', '--tls-key=/etc/portcullis/tls/tls.key'],
      ],
      {
        mounts: [
          [files, '/etc/portcullis/tls'],
          [writable('trust-data'), '/var/lib/portcullis/trust'],
          [writable('trust-tmp'), '/tmp'],
        ],
      },
    );
    const ca = readFileSync(join(files, 'tls.crt'), 'utf8');
    const health = await eventually(60_000, () =>
      ask({ address, port: 4443, path: '/_notary_server/health', ca }),
    ).catch((error: unknown) => assert.fail(`${String(error)}: ${log('trust')}`));
    assert.deepEqual(health, { status: 200, body: '{}' });
    assert.equal((await ask({ address, port: 4443, path: '/', ca })).status, 404, 'no collection is named');
    assert.equal((await ask({ address, port: 4443, path: '/v2/', ca })).status, 200);
    assert.ok(existsSync(at('trust-data/data/trust.db')));
    const where = await execute(stage, id, '/usr/bin/node', '-p', 'process.getuid() + " " + process.version');
    assert.match(where.stdout, /^65532 v\d+/u);
    for (const shell of ['/bin/sh', '/usr/bin/sh', '/bin/bash'])
      await assert.rejects(
        execute(stage, id, shell, '-c', 'true').then(({ exitCode }) => assert.equal(exitCode, 0)),
      );
    await removePod(stage, pod);
  });

  it('webhook: answers a review over TLS', async () => {
    const policy = `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
rules: [{ images: ['**'], deny: closed }]
`;
    const files = readable('webhook-files', { 'policy.yaml': policy });
    const { pod, address } = await start(
      'webhook',
      [
        ...['--listen=:8443', '--policy=/etc/portcullis/policy.yaml', '--trust-state=/tmp/trust'],
        ...['--tls-cert=/etc/portcullis/tls.crt', '--tls-key=/etc/portcullis/tls.key'],
      ],
      {
        mounts: [
          [files, '/etc/portcullis'],
          [writable('webhook-tmp'), '/tmp'],
        ],
      },
    );
    const ca = readFileSync(join(files, 'tls.crt'), 'utf8');
    await eventually(60_000, async () => {
      assert.equal((await ask({ address, port: 8443, path: '/readyz', ca })).status, 200);
    }).catch((error: unknown) => assert.fail(`${String(error)}: ${log('webhook')}`));
    const review = {
      ...{ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' },
      request: {
        ...{ uid: 'u-1', operation: 'CREATE', namespace: 'shop', name: 'bad' },
        kind: { group: '', version: 'v1', kind: 'Pod' },
        resource: { group: '', version: 'v1', resource: 'pods' },
        object: {
          ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'bad', namespace: 'shop' } },
          spec: { containers: [{ name: 'app', image: 'registry.example.com/team/app:1' }] },
        },
      },
    };
    const { status, body } = await ask({
      address,
      port: 8443,
      path: '/validate',
      ca,
      body: JSON.stringify(review),
    });
    assert.equal(status, 200, body);
    const { response } = JSON.parse(body) as {
      response: { uid: string; allowed: boolean; status: { message: string } };
    };
    assert.deepEqual([response.uid, response.allowed], ['u-1', false]);
    assert.match(response.status.message, /closed/u);
    await removePod(stage, pod);
  });

  it('fleet: serves the page of the console, and answers nobody without a token', async () => {
    const sha256 = createHash('sha256').update('reader').digest('hex');
    const files = readable('fleet-files', {
      'tokens.yaml': `nodes: {}\nreaders: { r: { sha256: '${sha256}' } }\n`,
    });
    const { pod, address } = await start(
      'fleet',
      [
        ...[
          '--listen=:4319',
          '--data=/var/lib/portcullis/fleet/data',
          '--tokens=/etc/portcullis/tokens.yaml',
        ],
        ...['--tls-cert=/etc/portcullis/tls.crt', '--tls-key=/etc/portcullis/tls.key'],
      ],
      {
        mounts: [
          [files, '/etc/portcullis'],
          [writable('fleet-data'), '/var/lib/portcullis/fleet'],
        ],
      },
    );
    const ca = readFileSync(join(files, 'tls.crt'), 'utf8');
    const page = await eventually(60_000, () => ask({ address, port: 4319, path: '/', ca })).catch(
      (error: unknown) => assert.fail(`${String(error)}: ${log('fleet')}`),
    );
    assert.equal(page.status, 200);
    assert.match(page.body, /^<!doctype html>[^]*<title>Portcullis/iu);
    assert.equal((await ask({ address, port: 4319, path: '/v1/nodes', ca })).status, 401);
    await removePod(stage, pod);
  });

  it('node-installer: installs, repeats, and removes without a trace', async () => {
    const host = at('host');
    for (const path of ['etc/systemd/system', 'usr/local/bin', 'opt', 'proc'])
      mkdirSync(join(host, path), { recursive: true });
    writeFileSync(join(host, 'etc/fstab'), '# of the node\n');
    const clean = sumsBelow(host);
    const run = async (...args: readonly string[]): Promise<string> => {
      const { id, pod } = await start('node-installer', args, {
        security: { privileged: true, runAsUser: { value: 0 }, readonlyRootfs: true },
        mounts: [[host, '/host']],
      });
      const { exitCode } = await exitOf(stage, id);
      const said = log('node-installer').replaceAll(/^\S+ \S+ \S /gmu, '');
      await removePod(stage, pod);
      rmSync(join(stage.logs, 'node-installer'), { recursive: true });
      assert.equal(exitCode, 0, said);
      return said;
    };
    assert.match(await run('install', '--host=/host'), /^installed \/opt\/portcullis\/versions\//u);
    assert.match(await run('install', '--host=/host'), /is installed already/u);
    // The launcher finds Node and the bundle next to it.
    const launcher = join(host, 'opt/portcullis/current/packaging/bin/portcullis');
    const { stdout, output } = await runProgram(launcher, ['--version'], { PATH: process.env['PATH'] });
    assert.equal(stdout.trim(), manifest.version, output);
    assert.match(
      readFileSync(join(host, 'etc/systemd/system/portcullisd.service'), 'utf8'),
      /^ExecStart=\/usr\/local\/bin\/portcullisd$/mu,
    );
    assert.ok(!existsSync(join(host, 'etc/systemd/system/multi-user.target.wants')), 'nothing is enabled');
    assert.match(await run('remove', '--host=/host'), /^removed/u);
    assert.deepEqual(sumsBelow(host), clean);
  });
});

type Json = Readonly<Record<string, unknown>>;

/** Returns the digest of every file below a folder, by its path. */
function sumsBelow(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry): [string, string] => {
        const path = join(entry.parentPath, entry.name);
        return [path.slice(folder.length), createHash('sha256').update(readFileSync(path)).digest('hex')];
      })
      .sort(),
  );
}

function ask(to: {
  readonly address: string;
  readonly port: number;
  readonly path: string;
  readonly ca: string;
  readonly body?: string;
}): Promise<{ readonly status: number; readonly body: string }> {
  const { address, port, path, ca, body } = to;
  return new Promise((resolve, reject) => {
    const call = request(
      {
        ...{ host: address, port, path, ca, servername: 'service.test', timeout: 20_000, agent: false },
        ...(body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' } }),
      },
      (answer) => {
        text(answer).then((read) => resolve({ status: answer.statusCode ?? 0, body: read }), reject);
      },
    );
    call.on('error', reject);
    call.end(body);
  });
}
