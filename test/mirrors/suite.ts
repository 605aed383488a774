/**
 * Copies an image with evidence in every form by tools that people use, and compares what arrives with what
 * `portcullis images evidence` reports. Decides about each copy, also from an archive of the copy where no
 * network is. Run by `npm run test:mirrors`.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { attestImage, openRegistries, signImage } from '../../trust/index.ts';
import type { RegistryAccess } from '../../trust/index.ts';
import type { EvidencePiece, ImageInventory, LostInCopy } from '../../trust/transfer/index.ts';
import { openAirGap } from '../fixtures/air-gap.ts';
import type { AirGap } from '../fixtures/air-gap.ts';
import { portcullis, portcullisCommand, runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { findDocker, startDocker } from '../fixtures/dockerd.ts';
import type { Docker } from '../fixtures/dockerd.ts';
import { freePort } from '../fixtures/free-port.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { startEither } from '../fixtures/notation.ts';
import { makeKey } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const indexType = 'application/vnd.oci.image.index.v1+json';
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const home = mkdtempSync(join(tmpdir(), 'portcullis-mirrors-'));
const clean = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(?:https?|no|all)_proxy$/iu.test(name)),
);

interface Server {
  readonly host: string;
  readonly url: string;
  close(): Promise<void>;
}

/** The losses of one copy, as text for a table. */
interface Expected {
  readonly image?: 'another image';
  readonly platforms: number;
  readonly referrers: number;
  readonly tags: number;
  /**
   * The verdict of `portcullis verify` for the rule that the referrers fulfil, and of `trust archive verify`
   * for an archive of the copy where no network is.
   */
  readonly verdict: 'admitted' | 'denied';
}

/** A tool, and how it copies HOST/app:1 to another host. */
interface Tool {
  readonly name: string;
  readonly needs?: string;
  copy(from: string, to: string): Promise<Ended>;
}

const run =
  (tool: string, words: (from: string, to: string) => readonly string[]): Tool['copy'] =>
  (from, to) =>
    runProgram(findTool(tool).path, words(from, to), clean, home);

const plain: readonly Tool[] = [
  {
    name: 'portcullis images copy',
    copy: (from, to) => portcullis(['images', 'copy', `${from}/app:1`, `${to}/app:1`]),
  },
  {
    name: 'skopeo copy --all',
    needs: 'skopeo',
    copy: run('skopeo', (from, to) => [
      ...['--insecure-policy', 'copy', '--all', '--src-tls-verify=false', '--dest-tls-verify=false'],
      ...[`docker://${from}/app:1`, `docker://${to}/app:1`],
    ]),
  },
  {
    name: 'crane copy',
    needs: 'crane',
    copy: run('crane', (from, to) => ['copy', '--insecure', `${from}/app:1`, `${to}/app:1`]),
  },
  {
    name: 'oras copy --recursive',
    needs: 'oras',
    copy: run('oras', (from, to) => [
      ...['copy', '--recursive', '--from-plain-http', '--to-plain-http'],
      ...[`${from}/app:1`, `${to}/app:1`],
    ]),
  },
  {
    name: 'regctl image copy',
    needs: 'regctl',
    copy: regctl(),
  },
  {
    name: 'regctl image copy --referrers --digest-tags',
    needs: 'regctl',
    copy: regctl('--referrers', '--digest-tags'),
  },
];

function regctl(...options: readonly string[]): Tool['copy'] {
  return async (from, to) => {
    const { path } = findTool('regctl');
    for (const host of [from, to])
      await runProgram(path, ['registry', 'set', host, '--tls', 'disabled'], { ...clean, HOME: home });
    const words = ['image', 'copy', ...options, `${from}/app:1`, `${to}/app:1`];
    return runProgram(path, words, { ...clean, HOME: home });
  };
}

const nothingLost: Expected = { platforms: 0, referrers: 0, tags: 0, verdict: 'admitted' };
const evidenceLost: Expected = { platforms: 0, referrers: 2, tags: 2, verdict: 'denied' };

/** Expected results of the copies, as measured with the pinned versions of `test/peers/get`. */
const expected: Readonly<Record<string, Expected>> = {
  'portcullis images copy': nothingLost,
  'skopeo copy --all': evidenceLost,
  'crane copy': evidenceLost,
  'oras copy --recursive': { ...nothingLost, tags: 2 },
  'regctl image copy': evidenceLost,
  'regctl image copy --referrers --digest-tags': nothingLost,
  'docker pull, tag and push': { ...evidenceLost, image: 'another image', platforms: 2 },
  'a pull-through registry': nothingLost,
};

const kinds = ['fallback tags', 'referrers API'] as const;
type Kind = (typeof kinds)[number];

const servers: Server[] = [];
let registry: RegistryAccess;
let gap: AirGap;
let docker: Docker | undefined;
const table: string[] = [];

before(async () => {
  gap = await openAirGap();
  registry = await openRegistries({ mirrors: [], insecureHosts: [] });
  if (findDocker().skip === false) {
    mkdirSync(join(home, 'docker'));
    docker = await startDocker({
      folder: join(home, 'docker'),
      flags: ['--bridge', 'none', '--iptables=false'],
    });
  }
});
after(async () => {
  await docker?.end();
  await gap.close();
  await registry.close();
  await Promise.all(servers.map((server) => server.close()));
  rmSync(home, { recursive: true, force: true });
  process.stdout.write(`\n${table.join('\n')}\n`);
});

async function open(kind: Kind): Promise<Server> {
  const { host, close } = await startEither(kind === 'referrers API');
  const server = { host, url: `http://${host}`, close };
  servers.push(server);
  return server;
}

/** Publishes an index of two platforms with a signature, an attestation and an SBOM in every form. */
async function publish(host: string): Promise<void> {
  const [repository] = await registry.repositories({ registry: host, repository: 'app' });
  assert.ok(repository);
  const platforms = [];
  for (const architecture of ['amd64', 'arm64']) {
    const image = await buildImage({ config: { Labels: { architecture } } });
    await pushImage(repository, image, architecture);
    platforms.push({
      mediaType: manifestType,
      digest: image.manifestDigest,
      size: image.manifest.length,
      platform: { os: 'linux', architecture },
    });
  }
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: platforms }));
  const { digest } = await repository.pushManifest(index, indexType, { tag: '1' });
  mkdirSync(join(home, 'policy'), { recursive: true });
  const key = await makeKey(join(home, 'k.key'), join(home, 'policy/k.pub'));
  const now = new Date();
  for (const format of ['bundle', 'legacy'] as const) {
    await signImage({ repository, digest, key, format, now });
    const type = 'https://slsa.dev/provenance/v1';
    await attestImage({ repository, digest, key, type, predicate: { builder: 'b' }, format, now });
  }
  writeFileSync(
    join(home, 'policy/policy.yaml'),
    [
      'apiVersion: portcullis.dev/v1alpha1',
      'kind: TrustPolicy',
      'rules:',
      "  - images: ['**']",
      '    require: { all: [ { cosign: { key: k.pub } }, { attestation: { type: "https://slsa.dev/provenance/v1", by: { cosign: { key: k.pub } } } } ] }',
      '',
    ].join('\n'),
  );
}

interface Compared {
  readonly original: ImageInventory;
  readonly copy: ImageInventory;
  readonly lost: LostInCopy;
}

async function compare(from: string, to: string): Promise<Expected> {
  const words = ['images', 'evidence', `${from}/app:1`, '--against', `${to}/app:1`, '--output', 'json'];
  const ended = await portcullis(words);
  assert.ok(ended.code === 0 || ended.code === 1, ended.output);
  const { lost } = JSON.parse(ended.stdout) as Compared;
  const of = (form: EvidencePiece['form']): number =>
    lost.pieces.filter((piece) => piece.form === form).length;
  const verified = await portcullis([
    ...['verify', `${to}/app:1`, '--policy', join(home, 'policy/policy.yaml'), '--platform', 'linux/amd64'],
  ]);
  const verdict = verified.code === 0 ? 'admitted' : 'denied';
  assert.equal(await verdictInGap(to), verdict, 'from an archive of the copy, without a network');
  return {
    ...(lost.otherDigest === undefined ? {} : { image: 'another image' as const }),
    platforms: lost.manifests.length,
    referrers: of('referrer'),
    tags: of('tag'),
    verdict,
  };
}

/** A registry that fetches requested content from another registry (Distribution 3). */
async function pullThrough(from: Server): Promise<Server> {
  const port = await freePort();
  const folder = mkdtempSync(join(home, 'through-'));
  const config = {
    version: 0.1,
    log: { accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(folder, 'data') } },
    http: { addr: `127.0.0.1:${port}` },
    proxy: { remoteurl: from.url },
  };
  writeFileSync(join(folder, 'config.yml'), JSON.stringify(config));
  const child = spawn(findTool('registry').path, ['serve', join(folder, 'config.yml')], {
    stdio: 'ignore',
    env: { ...clean, OTEL_TRACES_EXPORTER: 'none' },
  });
  const ended = once(child, 'exit');
  const url = `http://127.0.0.1:${port}`;
  for (;;) {
    const answer = await fetch(`${url}/v2/`).catch(() => undefined);
    if (answer !== undefined) break;
    assert.equal(child.exitCode, null, 'the registry did not start');
    await pause(50);
  }
  const server = {
    host: `127.0.0.1:${port}`,
    url,
    async close() {
      child.kill('SIGKILL');
      await ended;
    },
  };
  servers.push(server);
  return server;
}

/** Writes an archive of a copy with the policy, and decides about it where no network is. */
async function verdictInGap(host: string): Promise<Expected['verdict']> {
  const file = join(home, `${host.replace(':', '-')}.tar`);
  const run = (within: readonly string[], ...words: readonly string[]): Promise<Ended> => {
    const [program = '', ...rest] = [...within, ...portcullisCommand, 'trust', 'archive', ...words];
    return runProgram(program, rest, { ...clean, COSIGN_PASSWORD: '' }, home);
  };
  const create = ['create', `${host}/app:1`, file, '--policy', 'policy', '--key', 'k.key'];
  const created = await run([], ...create);
  assert.equal(created.code, 0, created.output);
  const key = ['--archive-key', 'policy/k.pub', '--trust-state', 'archives'];
  const { code, output } = await run(gap.within, 'verify', file, ...key);
  assert.ok(code === 0 || code === 1, output);
  return code === 0 ? 'admitted' : 'denied';
}

function check(kind: Kind, name: string, found: Expected): void {
  const lost = [
    ...(found.image === undefined ? [] : [found.image]),
    ...(found.platforms === 0 ? [] : [`${found.platforms} platforms`]),
    ...(found.referrers === 0 ? [] : [`${found.referrers} referrers`]),
    ...(found.tags === 0 ? [] : [`${found.tags} tags`]),
  ];
  table.push(`| ${name} | ${kind} | ${lost.join(', ') || 'nothing'} | ${found.verdict} |`);
  assert.deepEqual(found, expected[name]);
}

for (const kind of kinds)
  describe(`between registries with ${kind}`, () => {
    let from: Server;
    before(async () => {
      from = await open(kind);
      await publish(from.host);
    });

    for (const { name, needs, copy } of plain)
      it(name, { skip: needs === undefined ? false : findTool(needs).skip }, async () => {
        const to = await open(kind);
        const ended = await copy(from.host, to.host);
        assert.equal(ended.code, 0, ended.output);
        check(kind, name, await compare(from.host, to.host));
      });

    it('docker pull, tag and push', { skip: findDocker().skip }, async () => {
      const to = await open(kind);
      await docker?.ok('pull', `${from.host}/app:1`);
      await docker?.ok('tag', `${from.host}/app:1`, `${to.host}/app:1`);
      await docker?.ok('push', `${to.host}/app:1`);
      check(kind, 'docker pull, tag and push', await compare(from.host, to.host));
    });

    it('a pull-through registry', { skip: findTool('registry').skip }, async () => {
      const through = await pullThrough(from);
      check(kind, 'a pull-through registry', await compare(from.host, through.host));
    });
  });
