import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, normalize } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { exportContainersPolicy } from '../../trust/import/containers/export.ts';
import { importContainersPolicy } from '../../trust/import/containers/import.ts';
import { writeImported } from '../../trust/import/write-imported.ts';
import { loadPolicy, openRegistries, verifyImage } from '../../trust/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import { buildPeers } from '../fixtures/build-peers.ts';
import { serveHttp } from '../fixtures/registry.ts';
import type { TestServer } from '../fixtures/registry.ts';
import { findTool } from '../fixtures/tools.ts';
import { createWorld } from './containers/world.ts';
import type { World } from './containers/world.ts';

/**
 * Imported policies of podman and CRI-O decide like the containers image library, for each policy and image.
 */
const judge = buildJudge();

const here = join(import.meta.dirname, 'containers');
const names = readdirSync(join(here, 'policies')).map((name) => name.replace(/\.json$/, ''));

function buildJudge(): ReturnType<typeof findTool> {
  const found = findTool('containers-judge');
  if (found.skip === false || findTool('go').skip !== false) return found;
  buildPeers(['containers-judge']);
  return findTool('containers-judge');
}

describe('containers policies', { skip: judge.skip }, () => {
  let world: World;
  let store: TestServer;
  const folder = mkdtempSync(join(tmpdir(), 'pc-containers-'));
  const registriesD = join(folder, 'registries.d');
  before(async () => {
    world = await createWorld(folder);
    store = await serveHttp((request, response) => {
      const file = normalize(join(world.lookaside, decodeURIComponent(request.url ?? '')));
      if (!file.startsWith(world.lookaside) || !existsSync(file)) response.writeHead(404).end();
      else response.end(readFileSync(file));
    });
    const fixtures = join(here, '../../../trust/evidence/fixtures/keys');
    copyFileSync(join(fixtures, 'ecdsa-p256.pub'), join(world.keys, 'cosign-p256.pub'));
    copyFileSync(join(fixtures, 'rsa-2048.pub'), join(world.keys, 'cosign-rsa.pub'));
    mkdirSync(registriesD);
    for (const name of readdirSync(join(here, 'registries.d')))
      writeFileSync(join(registriesD, name), filled(join(here, 'registries.d', name)));
  });
  after(async () => {
    await world.close();
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const cells = { admitted: 0, denied: 0, byCertificates: 0 };

  const filled = (file: string): string =>
    readFileSync(file, 'utf8')
      .replaceAll('@KEYS@', world.keys)
      .replaceAll('@LOOKASIDE@', `file://${world.lookaside}`)
      .replaceAll('@HTTP@', store.url)
      .replace(/@DATA:([^@]+)@/g, (_, name: string) =>
        readFileSync(join(world.keys, name)).toString('base64'),
      );

  const theirs = (
    policy: string,
    registriesDir = registriesD,
  ): Promise<ReadonlyMap<string, { allowed: boolean; why?: string }>> =>
    new Promise((resolve, reject) => {
      const child = execFile(judge.path, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout) => {
        if (error !== null) reject(new Error('the judge failed', { cause: error }));
        const lines = stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as { image: string; allowed: boolean; why?: string });
        resolve(new Map(lines.map((line) => [line.image, line])));
      });
      child.stdin?.end(JSON.stringify({ policy, registriesDir, registry: world.host, images: world.images }));
    });

  const imported = async (
    name: string,
    policyJson: string,
  ): Promise<{ policy: TrustPolicy; text: string }> => {
    const files = readdirSync(registriesD).map((file) => ({
      file,
      text: readFileSync(join(registriesD, file), 'utf8'),
    }));
    const result = await importContainersPolicy({
      policyJson: { file: policyJson, text: readFileSync(policyJson, 'utf8') },
      registriesD: files,
      directory: folder,
    });
    const out = join(folder, `imported-${name}`);
    await writeImported(result, policyJson, out);
    const { policy } = await loadPolicy({ paths: [join(out, 'policy.yaml')] });
    return { policy, text: readFileSync(join(out, 'policy.yaml'), 'utf8') };
  };

  const ours = async (policy: TrustPolicy): Promise<ReadonlyMap<string, string>> => {
    const hosts = new Set(world.images.map((image) => image.slice(0, image.indexOf('/'))));
    const registry = await openRegistries({
      mirrors: [...hosts].map((host) => `${host}=http://${world.host}`),
      insecureHosts: [],
    });
    try {
      const results = new Map<string, string>();
      const platform = { os: 'linux', architecture: 'amd64' };
      for (const reference of world.images) {
        const { verdict } = await verifyImage({
          reference,
          namespace: '',
          policy,
          registry,
          platform,
          now: new Date(),
        });
        results.set(reference, verdict.outcome);
      }
      return results;
    } finally {
      await registry.close();
    }
  };

  for (const name of names) {
    it(`decides by ${name} like the containers image library`, async () => {
      const policyJson = join(folder, `${name}.json`);
      writeFileSync(policyJson, filled(join(here, 'policies', `${name}.json`)));
      const expected = await theirs(policyJson);
      const { policy, text } = await imported(name, policyJson);
      const found = await ours(policy);
      const different = world.images.flatMap((image) => {
        const { allowed, why } = expected.get(image) ?? { allowed: false, why: 'not answered' };
        assert.doesNotMatch(why ?? '', /no such image|reference:/, `${image}: ${why ?? ''}`);
        return (found.get(image) === 'admit') === allowed
          ? []
          : [
              `${image}: theirs ${allowed ? 'admits' : `denies (${why ?? ''})`}, ours: ${found.get(image) ?? ''}`,
            ];
      });
      for (const { allowed } of expected.values()) cells[allowed ? 'admitted' : 'denied'] += 1;
      if (name.startsWith('pki-'))
        cells.byCertificates += [...expected.values()].filter(({ allowed }) => allowed).length;
      assert.deepEqual(different, [], text);

      // The reverse: an export of the imported policy decides the same.
      const exported = exportContainersPolicy(policy);
      const back = join(folder, `exported-${name}`);
      mkdirSync(back);
      writeFileSync(join(back, 'policy.json'), exported.policyJson);
      writeFileSync(join(back, 'portcullis.yaml'), exported.registriesD);
      const again = await theirs(join(back, 'policy.json'), back);
      const changed = world.images.filter(
        (image) => again.get(image)?.allowed !== expected.get(image)?.allowed,
      );
      assert.deepEqual(changed, [], `${exported.policyJson}\n${JSON.stringify(exported.unmapped, null, 1)}`);
    });
  }

  it('covers images that are admitted and images that are denied', () => {
    assert.ok(cells.admitted > 400 && cells.denied > 800 && cells.byCertificates > 60, JSON.stringify(cells));
  });
});
