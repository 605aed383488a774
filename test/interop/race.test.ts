/**
 * Concurrent signers of one image, each a process, at a registry with neither referrers nor conditional
 * writes.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseReference } from '../../base/distribution/index.ts';
import { explainVerdict, openRegistries, policyOfKey, verifyImage } from '../../trust/index.ts';
import type { RegistryAccess } from '../../trust/index.ts';
import { rootExtensions, signerExtensions } from '../../trust/notation/fixtures/authority.ts';
import { portcullis, runProgram } from '../fixtures/command.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { openNotation } from '../fixtures/notation.ts';
import type { NotationGround } from '../fixtures/notation.ts';
import { findRegistry, startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { findTool } from '../fixtures/tools.ts';
import { isWide } from '../fixtures/width.ts';

const cosign = findTool('cosign');
const notation = findTool('notation');
const signers = 8;

describe(
  'eight processes sign one image at once',
  { skip: findRegistry() === undefined ? 'no docker-registry' : false },
  () => {
    let ground: NotationGround;
    let registry: TestRegistry;
    let access: RegistryAccess;
    let environment: NodeJS.ProcessEnv = {};
    before(async () => {
      ground = openNotation();
      registry = await startRegistry();
      access = await openRegistries({ mirrors: [], insecureHosts: [] });
      environment = {
        PATH: process.env['PATH'],
        HOME: ground.folder,
        TUF_ROOT: join(ground.folder, 'tuf'),
        COSIGN_PASSWORD: 'secret',
      };
      for (let index = 0; index < signers; index += 1) {
        const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
        writeFileSync(keyFile(index, 'pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
        writeFileSync(keyFile(index, 'pub'), publicKey.export({ type: 'spki', format: 'pem' }));
      }
      const root = ground.authority.issue('root', { extensions: rootExtensions });
      const subject = '/C=US/ST=WA/O=example.com/CN=builder';
      ground.addKey(
        'theirs',
        ground.authority.issue('leaf', { subject, extensions: signerExtensions, by: root }),
        root,
      );
    });
    after(async () => {
      await access.close();
      await registry.close();
      ground.close();
    });

    const keyFile = (index: number, kind: string): string => join(ground.folder, `${index}.${kind}`);

    async function publish(name: string): Promise<string> {
      const image = await buildImage({ base: false });
      const [repository] = await access.repositories(parseReference(`${registry.host}/${name}`));
      assert.ok(repository);
      await pushImage(repository, image, '1');
      return `${registry.host}/${name}@${image.manifestDigest}`;
    }

    async function signAtOnce(target: string, format: string): Promise<void> {
      const keys = Array.from({ length: signers }, (_, index) => index);
      const ended = await Promise.all(
        keys.map((index) =>
          portcullis(['sign', target, '--key', keyFile(index, 'pem'), '--format', format], environment),
        ),
      );
      for (const { code, output } of ended) assert.equal(code, 0, output);
    }

    async function assertAllOurs(target: string): Promise<void> {
      for (let index = 0; index < signers; index += 1) {
        const policy = await policyOfKey(keyFile(index, 'pub'));
        const { verdict } = await verifyImage({
          reference: target,
          namespace: '',
          policy,
          registry: access,
          now: new Date(),
        });
        assert.equal(verdict.outcome, 'admit', `signer ${index}: ${explainVerdict(verdict)}`);
      }
    }

    for (const format of ['bundle', 'legacy']) {
      // A short run covers each form and each combination with other tools once. A complete run covers all
      // pairs.
      const company = isWide ? ['alone', 'beside'] : format === 'legacy' ? ['alone'] : ['beside'];
      if (company.includes('alone'))
        it(`in the form ${format}: each signature is found at the end`, async () => {
          const target = await publish(`alone-${format}`);
          await signAtOnce(target, format);
          await assertAllOurs(target);
        });

      const foreign = cosign.skip || notation.skip;
      if (company.includes('beside'))
        it(
          `in the form ${format}, beside cosign and notation, which overwrite each other: all of our signatures stay`,
          { skip: foreign },
          async () => {
            const target = await publish(`beside-${format}`);
            const made = await runProgram(
              cosign.path,
              ['generate-key-pair', '--output-key-prefix', join(ground.folder, format)],
              environment,
            );
            assert.equal(made.code, 0, made.output);
            const offline = [
              '--tlog-upload=false',
              '--use-signing-config=false',
              '--allow-insecure-registry',
              '--yes',
            ];
            // A few signers of each tool, concurrently with ours. One of them may fail, because the registry
            // answers 500 while a tag is being written.
            const thrice = async (sign: () => Promise<unknown>): Promise<void> => {
              for (let turn = 0; turn < 3; turn += 1) await sign();
            };
            await Promise.all([
              signAtOnce(target, format),
              thrice(() =>
                runProgram(
                  cosign.path,
                  [
                    'sign',
                    '--key',
                    join(ground.folder, `${format}.key`),
                    `--new-bundle-format=${format === 'bundle'}`,
                    ...offline,
                    target,
                  ],
                  environment,
                ),
              ),
              thrice(() =>
                ground.notation(
                  'sign',
                  '--insecure-registry',
                  '--key',
                  'theirs',
                  '--signature-format',
                  'cose',
                  target,
                ),
              ),
            ]);
            await assertAllOurs(target);
          },
        );
    }
  },
);
