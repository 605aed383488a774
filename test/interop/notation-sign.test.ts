/**
 * `sign` as a user calls it, in every form at once. cosign and notation verify the results in the registry.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { accessSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseReference } from '../../base/distribution/index.ts';
import { openRegistries } from '../../trust/index.ts';
import { p256, rootExtensions, signerExtensions } from '../../trust/notation/fixtures/authority.ts';
import type { Issued } from '../../trust/notation/fixtures/authority.ts';
import { portcullis, runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { openNotation, startEither } from '../fixtures/notation.ts';
import type { NotationGround } from '../fixtures/notation.ts';
import { findTool } from '../fixtures/tools.ts';
import { isWide } from '../fixtures/width.ts';

const notation = findTool('notation');
const cosign = findTool('cosign');
const withReferrers = findTool('critimages');
const pkcs11Module = '/usr/lib/softhsm/libsofthsm2.so';

function hasSoftHsm(): boolean {
  try {
    accessSync(pkcs11Module);
    return true;
  } catch {
    return false;
  }
}

const names = ['p-256', 'p-384', 'rsa-2048'];

for (const referrers of [false, true]) {
  const skip = notation.skip || (referrers ? withReferrers.skip : false);
  describe(
    `sign in the Notary Project's forms at a registry ${referrers ? 'with' : 'without'} the referrers API`,
    { skip },
    () => {
      let ground: NotationGround;
      let registry: { readonly host: string; close(): Promise<void> };
      let environment: NodeJS.ProcessEnv = {};
      const leaves = new Map<string, Issued>();
      let root: Issued;
      let made = 0;

      before(async () => {
        ground = openNotation();
        registry = await startEither(referrers);
        environment = {
          PATH: process.env['PATH'],
          HOME: ground.folder,
          SOFTHSM2_CONF: join(ground.folder, 'softhsm.conf'),
        };
        root = ground.authority.issue('root', { extensions: rootExtensions });
        const subject = '/C=US/ST=WA/O=example.com/CN=builder';
        for (const [name, algorithm] of [
          ['p-256', p256],
          ['p-384', ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384']],
          ['rsa-2048', ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048']],
        ] as const) {
          const leaf = ground.authority.issue(name, {
            subject,
            extensions: signerExtensions,
            by: root,
            algorithm,
          });
          leaves.set(name, leaf);
          writeFileSync(
            join(ground.folder, `${name}.pem`),
            [leaf, root].map((one) => readFileSync(one.certificate, 'utf8')).join(''),
          );
          execFileSync('openssl', [
            'pkey',
            '-in',
            leaf.key,
            '-pubout',
            '-out',
            join(ground.folder, `${name}.pub`),
          ]);
        }
        ground.trust('ca', 'example', root);
        const statement = {
          name: 'example',
          registryScopes: ['*'],
          signatureVerification: { level: 'strict' },
          trustStores: ['ca:example'],
        };
        ground.writePolicy({ version: '1.0', trustPolicies: [{ ...statement, trustedIdentities: ['*'] }] });
        writeFileSync(
          join(ground.folder, 'policy.yaml'),
          `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require: { notation: { truststore: ca/example, folder: config/notation/truststore, identities: ["*"] } }\n`,
        );
      });
      after(async () => {
        await registry.close();
        ground.close();
      });

      const publish = async (): Promise<string> => {
        const access = await openRegistries({ mirrors: [], insecureHosts: [] });
        try {
          const name = `${registry.host}/app-${(made += 1)}`;
          const image = await buildImage({ base: false });
          const [repository] = await access.repositories(parseReference(name));
          assert.ok(repository);
          await pushImage(repository, image, '1');
          return `${name}@${image.manifestDigest}`;
        } finally {
          await access.close();
        }
      };
      const sign = (target: string, name: string, key: string, ...more: readonly string[]): Promise<Ended> =>
        portcullis(
          ['sign', target, '--key', key, '--certificate-chain', join(ground.folder, `${name}.pem`), ...more],
          environment,
        );
      const byNotation = (
        target: string,
        ...more: readonly string[]
      ): ReturnType<NotationGround['notation']> =>
        ground.notation('verify', '--insecure-registry', ...more, target);
      const ours = (target: string): Promise<Ended> =>
        portcullis(['verify', target, '--policy', join(ground.folder, 'policy.yaml')], environment);

      for (const name of isWide ? names : referrers ? ['rsa-2048'] : ['p-256', 'p-384']) {
        it(`a ${name} key signs in all forms with one command`, async () => {
          const target = await publish();
          const formats = ['bundle', 'legacy', 'notation-jws', 'notation-cose'];
          const signed = await sign(
            target,
            name,
            leaves.get(name)?.key ?? '',
            ...formats.flatMap((format) => ['--format', format]),
            ...['--annotation', 'build=7', '--expiry', '2h', '--output', 'json'],
          );
          assert.equal(signed.code, 0, signed.output);
          const list = (JSON.parse(signed.stdout) as { signed: { format: string; manifestDigest: string }[] })
            .signed;
          assert.deepEqual(
            list.map(({ format }) => format),
            formats,
          );
          const judged = await byNotation(target, '--user-metadata', 'build=7');
          assert.equal(judged.code, 0, judged.output);
          assert.notEqual((await byNotation(target, '--user-metadata', 'build=8')).code, 0, 'other metadata');
          const inspected = await ground.notation(
            'inspect',
            '--insecure-registry',
            '--output',
            'json',
            target,
          );
          assert.equal(inspected.code, 0, inspected.output);
          const envelopes = (
            JSON.parse(inspected.output) as {
              Signatures: { mediaType: string; signedAttributes: { expiry: string } }[];
            }
          ).Signatures;
          assert.deepEqual(envelopes.map(({ mediaType }) => mediaType).sort(), [
            'application/cose',
            'application/jose+json',
          ]);
          for (const { signedAttributes } of envelopes) {
            const left = Date.parse(signedAttributes.expiry) - Date.now();
            assert.ok(left > 3_600_000 && left <= 7_200_000, signedAttributes.expiry);
          }
          const verdict = await ours(target);
          assert.equal(verdict.code, 0, verdict.output);
          if (cosign.skip !== false) return;
          for (const form of [[], ['--new-bundle-format=false']]) {
            const words = [
              'verify',
              '--key',
              join(ground.folder, `${name}.pub`),
              '--allow-insecure-registry',
              '--insecure-ignore-tlog=true',
            ];
            const accepted = await runProgram(
              cosign.path,
              [...words, '--private-infrastructure', '-a', 'build=7', ...form, target],
              environment,
            );
            assert.equal(accepted.code, 0, accepted.output);
          }
        });
      }

      it(
        'a key on a PKCS #11 token signs in these forms too',
        { skip: hasSoftHsm() ? false : 'no softhsm2' },
        async () => {
          mkdirSync(join(ground.folder, 'tokens'));
          writeFileSync(
            join(ground.folder, 'softhsm.conf'),
            `directories.tokendir = ${ground.folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n`,
          );
          writeFileSync(join(ground.folder, 'pin'), '1234\n', { mode: 0o600 });
          const softhsm = (...words: readonly string[]): void =>
            void execFileSync('softhsm2-util', words, {
              stdio: 'pipe',
              env: { ...process.env, ...environment },
            });
          softhsm('--init-token', '--free', '--label', 'release', '--so-pin', '0000', '--pin', '1234');
          const target = await publish();
          for (const [index, name] of names.entries()) {
            const key = leaves.get(name)?.key ?? '';
            softhsm(
              '--import',
              key,
              '--token',
              'release',
              '--label',
              name,
              '--id',
              `0${index + 1}`,
              '--pin',
              '1234',
            );
            const uri = `pkcs11:token=release;object=${name}?module-path=${pkcs11Module}&pin-source=file:${ground.folder}/pin`;
            const signed = await sign(
              target,
              name,
              uri,
              '--format',
              'notation-jws',
              '--format',
              'notation-cose',
            );
            assert.equal(signed.code, 0, signed.output);
          }
          const judged = await byNotation(target);
          assert.equal(judged.code, 0, judged.output);
          const verdict = await ours(target);
          assert.equal(verdict.code, 0, verdict.output);
        },
      );

      it('impossible requests are reported: no chain, the chain of another key, an expiry for forms without one', async () => {
        const target = await publish();
        const key = leaves.get('p-256')?.key ?? '';
        const bare = await portcullis(
          ['sign', target, '--key', key, '--format', 'notation-jws'],
          environment,
        );
        assert.match(
          bare.output,
          /the key has no certificates.*--certificate-chain FILE.*TRUST_CERTIFICATE_CHAIN/s,
        );
        assert.match(
          (await sign(target, 'p-384', key, '--format', 'notation-cose')).output,
          /belongs to another key.*TRUST_CERTIFICATE_CHAIN/s,
        );
        assert.match(
          (await portcullis(['sign', target, '--key', key, '--expiry', '1h'], environment)).output,
          /have no expiry.*TRUST_FORMAT_UNFIT/s,
        );
        const wrong = await sign(target, 'p-256', key, '--format', 'notation-jws', '--expiry', 'tomorrow');
        assert.equal(wrong.code, 2, wrong.output);
        assert.notEqual((await byNotation(target)).code, 0);
      });
    },
  );
}
