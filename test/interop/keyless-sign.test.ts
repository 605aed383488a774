/**
 * `sign --keyless` and `attest --keyless`, as a user calls them. cosign and our own `verify` check the
 * results.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseReference } from '../../base/distribution/index.ts';
import { explainVerdict, loadPolicy, openRegistries, verifyImage } from '../../trust/index.ts';
import type { Verdict } from '../../trust/index.ts';
import { mockIssuer, mockSubject, startMockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import { portcullis, runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { startEither } from '../fixtures/notation.ts';
import { startRekor } from '../fixtures/rekor.ts';
import type { TestRekor } from '../fixtures/rekor.ts';
import { findTool } from '../fixtures/tools.ts';

const cosign = findTool('cosign');
const rekorServer = findTool('rekor-server');
const withReferrers = findTool('critimages');

interface Services {
  readonly name: string;
  readonly rekor: 1 | 2;
  readonly timeStamp: boolean;
  /** The real Rekor v2 instead of the mock's. */
  readonly real?: boolean;
}

const rows: readonly Services[] = [
  { name: 'Rekor v1', rekor: 1, timeStamp: false },
  { name: 'Rekor v1 and a time stamp', rekor: 1, timeStamp: true },
  { name: 'Rekor v2 and a time stamp', rekor: 2, timeStamp: true },
  { name: 'the real Rekor v2 and a time stamp', rekor: 2, timeStamp: true, real: true },
];

for (const referrers of [false, true]) {
  const skip = referrers ? withReferrers.skip : false;
  describe(
    `signing as an identity at a registry ${referrers ? 'with' : 'without'} the referrers API`,
    { skip },
    () => {
      let folder = '';
      let registry: { readonly host: string; close(): Promise<void> };
      let services: MockSigstore;
      let rekor: TestRekor | undefined;
      let environment: NodeJS.ProcessEnv = {};

      before(async () => {
        folder = mkdtempSync(join(tmpdir(), 'pc-keyless-sign-'));
        registry = await startEither(referrers);
        services = await startMockSigstore();
        rekor = rekorServer.skip === false ? await startRekor() : undefined;
        const root = services.trustedRoot() as { readonly tlogs: readonly object[] };
        writeFileSync(
          join(folder, 'root.json'),
          JSON.stringify({
            ...root,
            tlogs: [...root.tlogs, ...(rekor === undefined ? [] : [rekor.trusted])],
          }),
        );
        writeFileSync(join(folder, 'predicate.json'), '{"result":"PASSED"}');
        environment = {
          NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
          PATH: process.env['PATH'],
          HOME: folder,
          TUF_ROOT: join(folder, 'tuf'),
          SIGSTORE_ID_TOKEN: `${services.token({ rekor: 1 })}c2ln`,
        };
      });
      after(async () => {
        await rekor?.close();
        await services.close();
        await registry.close();
        rmSync(folder, { recursive: true, force: true });
      });

      const publish = async (name: string): Promise<string> => {
        const access = await openRegistries({ mirrors: [], insecureHosts: [] });
        try {
          const image = await buildImage({ base: false });
          const [repository] = await access.repositories(parseReference(`${registry.host}/${name}`));
          assert.ok(repository);
          await pushImage(repository, image, '1');
          return `${registry.host}/${name}@${image.manifestDigest}`;
        } finally {
          await access.close();
        }
      };

      const configOf = ({ rekor: version, timeStamp, real = false }: Services): string => {
        const file = join(folder, `signing-config-${version}-${timeStamp}-${real}.json`);
        const config = services.signingConfig({ rekor: version, timeStamp }) as {
          rekorTlogUrls: { url: string }[];
        };
        if (real) for (const one of config.rekorTlogUrls) one.url = rekor?.url ?? '';
        writeFileSync(file, JSON.stringify(config));
        return file;
      };

      const ours = async (
        target: string,
        demand: (identity: object) => object,
        subject = mockSubject,
      ): Promise<Verdict> => {
        const file = join(folder, 'policy.json');
        const identity = { issuer: mockIssuer, subject, root: 'root.json' };
        const rules = [{ images: ['**'], require: demand(identity) }];
        writeFileSync(
          file,
          JSON.stringify({ apiVersion: 'portcullis.dev/v1alpha1', kind: 'TrustPolicy', rules }),
        );
        const access = await openRegistries({ mirrors: [], insecureHosts: [] });
        try {
          const { policy } = await loadPolicy({ paths: [file] });
          return (
            await verifyImage({ reference: target, namespace: '', policy, registry: access, now: new Date() })
          ).verdict;
        } finally {
          await access.close();
        }
      };
      const theirs = (
        verb: string,
        target: string,
        more: readonly string[],
        subject = mockSubject,
      ): Promise<Ended> =>
        runProgram(
          cosign.path,
          [
            ...[verb, '--trusted-root', join(folder, 'root.json'), '--allow-insecure-registry'],
            ...['--certificate-identity', subject, '--certificate-oidc-issuer', mockIssuer, ...more, target],
          ],
          environment,
        );

      // The only difference is where bundles are stored.
      for (const row of referrers ? rows.slice(-1) : rows) {
        for (const format of ['bundle', 'legacy'] as const) {
          if (format === 'legacy' && row.rekor === 2) continue;
          const skipRow = row.real === true ? rekorServer.skip : false;
          const flags = [
            ...(row.timeStamp ? ['--use-signed-timestamps'] : []),
            ...(format === 'legacy' ? ['--new-bundle-format=false'] : []),
          ];

          it(`sign in the form ${format} with ${row.name}`, { skip: skipRow }, async () => {
            const target = await publish(`sign-${format}-${rows.indexOf(row)}`);
            const demand = (identity: object): object => ({ sigstore: identity });
            assert.equal((await ours(target, demand)).outcome, 'deny', 'unsigned');
            const signed = await portcullis(
              [
                'sign',
                target,
                '--keyless',
                '--signing-config',
                configOf(row),
                '--format',
                format,
                '--annotation',
                'build=7',
              ],
              environment,
            );
            assert.equal(signed.code, 0, signed.output);
            const verdict = await ours(target, demand);
            assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
            assert.equal((await ours(target, demand, `${mockSubject}0`)).outcome, 'deny', 'another identity');
            if (cosign.skip !== false) return;
            const accepted = await theirs('verify', target, [...flags, '-a', 'build=7']);
            assert.equal(accepted.code, 0, accepted.output);
            assert.notEqual(
              (await theirs('verify', target, flags, `${mockSubject}0`)).code,
              0,
              'another identity',
            );
            assert.notEqual(
              (await theirs('verify', target, [...flags, '-a', 'build=8'])).code,
              0,
              'another annotation',
            );
          });

          it(`attest in the form ${format} with ${row.name}`, { skip: skipRow }, async () => {
            const target = await publish(`attest-${format}-${rows.indexOf(row)}`);
            const type = 'https://example.com/review/v1';
            const demand = (identity: object): object => ({
              attestation: { type, by: { sigstore: identity }, cel: "predicate.result == 'PASSED'" },
            });
            assert.equal((await ours(target, demand)).outcome, 'deny', 'unsigned');
            const words = [
              '--keyless',
              '--signing-config',
              configOf(row),
              '--type',
              type,
              '--predicate',
              join(folder, 'predicate.json'),
            ];
            const attested = await portcullis(['attest', target, ...words, '--format', format], environment);
            assert.equal(attested.code, 0, attested.output);
            const verdict = await ours(target, demand);
            assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
            assert.equal((await ours(target, demand, `${mockSubject}0`)).outcome, 'deny', 'another identity');
            if (cosign.skip !== false) return;
            const accepted = await theirs('verify-attestation', target, [...flags, '--type', type]);
            assert.equal(accepted.code, 0, accepted.output);
            assert.notEqual(
              (await theirs('verify-attestation', target, [...flags, '--type', type], `${mockSubject}0`))
                .code,
              0,
            );
          });
        }
      }
    },
  );
}
