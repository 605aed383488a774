import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { createHttpServer } from '../../../base/connections/index.ts';
import { createRegistryClient } from '../../../base/distribution/index.ts';
import { amd64, policyOf } from '../../evidence/fixtures/fixture-image.ts';
import { faults, generatedFaults } from '../../evidence/fixtures/faults.ts';
import type { Fault } from '../../evidence/fixtures/faults.ts';
import { serveFixtures } from '../../evidence/fixtures/fixture-registry.ts';
import type { FixtureRegistry } from '../../evidence/fixtures/fixture-registry.ts';
import { contentToSign } from '../../evidence/fixtures/signed-content.ts';
import { gather } from '../../gathering/gather.ts';
import { defaultLimits } from '../../evidence/limits.ts';
import { signImage } from '../../signing/sign-image.ts';
import type { Requirement } from '../../requirements/types.ts';
import type { Verdict } from '../../findings/types.ts';
import { decide } from '../../verdict/decide.ts';
import { explainVerdict } from '../../verdict/explain-verdict.ts';
import { notarySigner } from '../fixtures/notary-signer.ts';

/**
 * Flips a bit within the signed part. An OCSP answer also carries certificates, which are not needed when the
 * issuer itself answers.
 */
const flipSigned: Fault = (_request, response, right) => {
  const wrong = Buffer.from(right);
  wrong[100] = (wrong[100] ?? 0) ^ 1;
  response.writeHead(200, { 'content-length': wrong.length }).end(wrong);
};

/** Without the faults that change bytes at random positions; `flipSigned` replaces them. */
const generated = Object.fromEntries(
  Object.entries(generatedFaults(4)).filter(([name]) => !name.endsWith('holes')),
);

/** Revocation sources answer wrongly in every way: a strict policy never admits the image. */
for (const by of ['a revocation list', 'an OCSP responder'] as const) {
  describe(`faults of ${by}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'revocation-faults-'));
    let registry: FixtureRegistry;
    let require: Requirement;
    let digest: string;
    let fault: Fault | undefined;
    let answer: (body: Buffer) => Buffer;
    let asked = 0;
    const server = createHttpServer((request, response) => {
      asked += 1;
      void buffer(request).then((body) => {
        const right = answer(body);
        if (fault === undefined) response.writeHead(200, { 'content-length': right.length }).end(right);
        else fault(request, response, right);
      });
    });
    server.on('clientError', () => undefined);
    before(async () => {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
      const at =
        by === 'a revocation list'
          ? `crlDistributionPoints=URI:${url}`
          : `authorityInfoAccess=OCSP;URI:${url}`;
      const { authority, root, signer, require: demand } = await notarySigner(folder, [at]);
      const list = authority.list(root);
      // The same request is sent each time; openssl answers it once.
      let answered: Buffer | undefined;
      answer = (body) => (by === 'a revocation list' ? list : (answered ??= authority.answer(root, body)));
      require = demand;
      const made = contentToSign();
      digest = made.digest;
      await signImage({ ...made, key: signer, format: 'notation-jws', now: new Date() });
      registry = await serveFixtures(new Map([['app', made.content]]), { referrers: true });
    });
    after(async () => {
      server.closeAllConnections();
      server.close();
      await registry.close();
      rmSync(folder, { recursive: true });
    });

    async function verdict(milliseconds: number): Promise<Verdict> {
      const client = createRegistryClient();
      try {
        const now = new Date();
        const policy = policyOf({ require });
        const reference = `${registry.host}/app:1`;
        const repositories = client.repositories({ registry: registry.host, repository: 'app' });
        const limits = { ...defaultLimits, milliseconds };
        const dossier = await gather(
          { reference, digest, manifestDigest: digest, repositories, policy, now },
          limits,
        );
        return decide({ dossier, reference, namespace: '', platform: amd64, policy, now });
      } finally {
        await client.close();
      }
    }

    it('an answer that is larger than the limit leaves the image undecided', async () => {
      const most = by === 'a revocation list' ? 1024 * 1024 : 20 * 1024;
      fault = (_request, response) => response.writeHead(200).end(Buffer.alloc(most + 1));
      const { outcome, ...rest } = await verdict(20_000);
      fault = undefined;
      assert.equal(outcome, 'undecided');
      assert.match(
        explainVerdict({ outcome, ...rest }),
        new RegExp(`its answer is larger than ${most} bytes`),
      );
    });

    it('no fault admits an image', async () => {
      const good = await verdict(20_000);
      assert.equal(good.outcome, 'admit', explainVerdict(good));
      for (const [name, one] of Object.entries({ ...faults, 'a flipped byte': flipSigned, ...generated })) {
        fault = one;
        const before = asked;
        const faulty = await verdict(1000);
        assert.ok(asked > before, `${name}: nobody asked`);
        assert.notEqual(faulty.outcome, 'admit', `${name}: ${explainVerdict(faulty)}`);
      }
    });
  });
}
