import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { mediaTypes, parseReference } from '../../base/distribution/index.ts';
import {
  createTrustServices,
  decide,
  explainVerdict,
  gather,
  openRegistries,
  verifyImage,
} from '../../trust/index.ts';
import type { RegistryAccess, TrustPolicy, TrustServices, Verdict } from '../../trust/index.ts';
import { startTrustService } from '../../trust/notary/index.ts';
import type { TrustService } from '../../trust/notary/index.ts';
import { beginCollection } from '../fixtures/collection.ts';
import { findTool } from '../fixtures/tools.ts';
import type { OpenTool, Tool } from './matrix/cells.ts';
import { openCosign } from './matrix/cosign.ts';
import { openGpg } from './matrix/gpg.ts';
import { openGround } from './matrix/ground.ts';
import type { Ground, Published } from './matrix/ground.ts';
import { openNotation } from './matrix/notation.ts';

/** Returns whether the tool accepts the image to which a tag currently refers. */
type Judge = (tool: Tool, ground: Ground, image: Published) => Promise<boolean>;

/** By tag, as a deployment refers to it. */
const byTag: Judge = async ({ rows }, _, image) => {
  const judge = rows[0]?.cells.good;
  assert.ok(typeof judge === 'object' && typeof judge.judge === 'function');
  return judge.judge({ ...image, target: image.reference });
};

/**
 * policy.json requires the signature of builder. A copy without it is refused (containers-policy.json(5)).
 */
const byPolicyJson: Judge = async (_, { folder, host }, { reference }) => {
  const [policy, registriesD, copy] = ['policy.json', 'registries.d', `copy-${Date.now()}`].map((name) =>
    join(folder, name),
  );
  assert.ok(policy !== undefined && registriesD !== undefined && copy !== undefined);
  const signedBy = { type: 'signedBy', keyType: 'GPGKeys', keyPath: join(folder, 'builder.gpg') };
  writeFileSync(
    policy,
    JSON.stringify({ default: [{ type: 'reject' }], transports: { docker: { [host]: [signedBy] } } }),
  );
  mkdirSync(registriesD, { recursive: true });
  writeFileSync(
    join(registriesD, 'default.yaml'),
    `docker:\n  ${host}:\n    lookaside: file://${join(folder, 'lookaside')}\n`,
  );
  const words = [
    '--policy',
    policy,
    '--registries.d',
    registriesD,
    'copy',
    '--all',
    '--src-tls-verify=false',
    '--remove-signatures',
  ];
  return new Promise((resolve) => {
    execFile(
      findTool('skopeo').path,
      [...words, `docker://${reference}`, `dir:${copy}`],
      { timeout: 60_000 },
      (error, _out, said) => {
        if (error !== null) console.log(`skopeo: ${said.trim()}`);
        resolve(error === null);
      },
    );
  });
};

const tools: readonly (readonly [name: string, program: string, open: OpenTool, judge: Judge])[] = [
  ['cosign', 'cosign', openCosign, byTag],
  ['notation', 'notation', openNotation, byTag],
  ['policy.json', 'skopeo', openGpg, byPolicyJson],
];

/**
 * An attacker who can write to the registry moves the current tag to an older image, which the publisher also
 * signed.
 */
for (const [name, program, open, judge] of tools) {
  describe(
    `an older, validly signed image under the current tag, signed for ${name}`,
    { skip: findTool(program).skip },
    () => {
      let ground: Ground;
      let tool: Tool;
      let service: TrustService;
      let services: TrustServices;
      let registry: RegistryAccess;
      let older: Published;
      let newer: Published;
      let signatures: TrustPolicy;
      let tuf: TrustPolicy;

      before(async () => {
        ground = await openGround(false);
        tool = await open(ground);
        service = await startTrustService({ listen: '127.0.0.1:0', data: join(ground.folder, 'service') });
        services = createTrustServices({ folder: join(ground.folder, 'seen'), sharedMs: 0 });
        registry = await openRegistries({ mirrors: [], insecureHosts: [] });
        const [row] = tool.rows;
        assert.ok(row && typeof row.cells.good === 'object');
        const publish = async (): Promise<Published> => {
          const image = await ground.publish(`${row.folder}/in/0`, 'index');
          assert.ok(typeof row.cells.good === 'object');
          await row.cells.good.arrange(image);
          // skopeo requires a signature of each platform's manifest too.
          await row.cells.good.arrange({
            ...image,
            digest: image.manifest,
            target: image.target.replace(image.index, image.manifest),
          });
          return image;
        };
        older = await publish();
        newer = await publish();
        assert.notEqual(older.digest, newer.digest);
        const image = newer.reference.replace(/:1$/u, '');
        const collection = await beginCollection({
          folder: join(ground.folder, 'owner'),
          name: image,
          destination: service.url,
        });
        await collection.publish({ 1: newer.reference });
        signatures = await ground.load('signatures', row.rules);
        const rule = `  - images: ["${image}"]\n    require: { tuf: { service: "${service.url}", root: "${collection.rootFile}", maxAge: 1h } }\n`;
        tuf = await ground.load('tuf', row.rules + rule);
        const { bytes } = await older.repository.manifest(older.digest);
        await older.repository.pushManifest(bytes, mediaTypes.ociIndex, { tag: '1' });
        assert.equal((await older.repository.resolve('1')).digest, older.digest);
      });
      after(async () => {
        await registry.close();
        await services.close();
        await service.close();
        await tool.close();
        await ground.close();
      });

      const platform = { os: 'linux', architecture: 'amd64' };
      const verify = async (reference: string, policy: TrustPolicy): Promise<Verdict> =>
        (
          await verifyImage({
            reference,
            namespace: '',
            policy,
            registry,
            services,
            platform,
            now: new Date(),
          })
        ).verdict;

      it(`is accepted by ${name}, and by our own policy if it requires only signatures`, async () => {
        assert.equal(await judge(tool, ground, older), true);
        const verdict = await verify(older.reference, signatures);
        assert.deepEqual([verdict.outcome, verdict.digest], ['admit', older.digest], explainVerdict(verdict));
      });

      it('is refused if the policy requires a signed digest of the tag, for every form of reference', async () => {
        const { reference } = older;
        // A caller that trusts the registry's tag requests a decision about the older image.
        const signed = await services.ask({ policy: tuf, reference });
        assert.ok(signed);
        const repositories = await registry.repositories(parseReference(reference));
        const about = { reference, digest: older.digest, manifestDigest: older.manifest };
        const dossier = await gather({ ...about, repositories, policy: tuf, now: new Date(), signed });
        const replayed = decide({
          dossier,
          reference,
          namespace: '',
          platform,
          policy: tuf,
          now: new Date(),
        });
        assert.equal(replayed.outcome, 'deny', explainVerdict(replayed));
        assert.match(JSON.stringify(replayed.reasons), /"TRUST_TUF_OTHER_DIGEST"/u);
        const byDigest = await verify(older.target, tuf);
        assert.equal(byDigest.outcome, 'deny', explainVerdict(byDigest));
        assert.match(JSON.stringify(byDigest.reasons), /"TRUST_TUF_NO_TARGET"/u);
      });

      it('is not used: the tag refers to the digest that was signed for it', async () => {
        const verdict = await verify(newer.reference, tuf);
        assert.deepEqual([verdict.outcome, verdict.digest], ['admit', newer.digest], explainVerdict(verdict));
      });
    },
  );
}
