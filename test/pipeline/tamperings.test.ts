/**
 * Changes that an attacker may make in a pipeline, the step at which it stops, and the reported reason. `npm
 * test` runs one of each kind; `npm run test:pipeline` runs all.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { mediaTypes } from '../../base/distribution/index.ts';
import { failureOf } from '../fixtures/stage.ts';
import { runShell } from './platforms.ts';
import type { Run, Step } from './platforms.ts';
import { openTestSetup, sbomOf, verifier } from './test-setup.ts';
import type { Built, TestSetup } from './test-setup.ts';

const isWide = process.env['PORTCULLIS_WIDE'] === '1';

/** A pipeline of the scripts with one change. */
interface Change {
  readonly title: string;
  /** It runs in `npm test` too. */
  readonly always?: true;
  readonly stops: Step;
  readonly code?: number;
  readonly why: RegExp;
  /** Changes the folder or the variables. Default: the built image and all steps. */
  readonly how: (
    at: string,
    built: Built,
  ) => Promise<{
    readonly steps?: readonly Step[];
    readonly image?: string;
    readonly env?: NodeJS.ProcessEnv;
  }>;
}

const steps: readonly Step[] = ['sign', 'attest', 'gate'];

describe('a pipeline that was tampered with stops', () => {
  let setup: TestSetup;
  let tools = '';
  before(async () => {
    setup = await openTestSetup();
    const at = setup.workspace();
    const { code, output } = await runShell(setup, at, '', ['setup']);
    assert.equal(code, 0, output);
    tools = join(at, '.portcullis');
  });
  after(() => setup.close());

  function workspace(): string {
    const at = setup.workspace();
    symlinkSync(tools, join(at, '.portcullis'));
    return at;
  }

  /** Copies the signature of one digest to another digest, as a registry or an attacker can. */
  async function copySignature(from: Built, to: Built): Promise<void> {
    const repository = setup.stage.repository(to.name.split('/')[1] ?? '');
    const tagOf = (digest: string): string => digest.replace(':', '-');
    const read = async (wanted: string): Promise<Record<string, unknown>> =>
      JSON.parse(Buffer.from((await repository.manifest(wanted)).bytes).toString()) as Record<
        string,
        unknown
      >;
    const index = (await read(tagOf(from.digest))) as { manifests: { digest: string; size: number }[] };
    const [first] = index.manifests;
    assert.ok(first);
    const signature = await read(first.digest);
    const { subject } = signature as { subject: object };
    const size = (await repository.resolve(to.digest)).size;
    const copy = Buffer.from(
      JSON.stringify({ ...signature, subject: { ...subject, digest: to.digest, size } }),
    );
    const pushed = await repository.pushManifest(copy, mediaTypes.ociManifest, {});
    const entry = { ...first, digest: pushed.digest, size: copy.length };
    const list = Buffer.from(JSON.stringify({ ...index, manifests: [entry] }));
    await repository.pushManifest(list, mediaTypes.ociIndex, { tag: tagOf(to.digest) });
  }

  const changes: readonly Change[] = [
    {
      title: 'at the gate, when the image is not signed',
      stops: 'gate',
      why: /keyless signature by .*: no signature was found for this image/u,
      how: () => Promise.resolve({ steps: ['attest', 'gate'] }),
    },
    {
      title: 'at the gate, when there is no SBOM',
      stops: 'gate',
      why: /type https:\/\/cyclonedx\.org\/bom by .*: 0 of/u,
      how: () => Promise.resolve({ env: { PORTCULLIS_SBOM: '' } }),
    },
    {
      title: 'at the gate, when the entitlements are not signed',
      stops: 'gate',
      why: /entitlements signed by the publisher/u,
      how: () => Promise.resolve({ env: { PORTCULLIS_ENTITLEMENTS: '' } }),
    },
    {
      title: 'at the gate, when the signature is for another digest',
      always: true,
      stops: 'gate',
      why: /the signature is valid, but it is a signature of another digest/u,
      async how(at, first) {
        const signed = await runShell(setup, at, first.image, ['sign']);
        assert.equal(signed.code, 0, signed.output);
        writeFileSync(join(at, 'page.txt'), 'changed\n');
        const second = await setup.build(at, '2');
        await copySignature(first, second);
        return { steps: ['attest', 'gate'], image: second.image };
      },
    },
    {
      title: 'at the gate, when another identity signs',
      stops: 'gate',
      why: /it was made by .*fork\.yml@refs\/heads\/x, not by /u,
      how(at) {
        writeFileSync(
          join(at, 'token'),
          setup.token('https://example.com/team/app/.github/workflows/fork.yml@refs/heads/x'),
        );
        return Promise.resolve({});
      },
    },
    {
      title: 'at the gate, when the SBOM is from the previous build',
      always: true,
      stops: 'gate',
      why: /"predicate\.metadata\.component\.version == image\.digest" is false/u,
      async how(at) {
        const stale = readFileSync(join(at, 'sbom.json'));
        writeFileSync(join(at, 'page.txt'), 'changed\n');
        const { image } = await setup.build(at, '2');
        writeFileSync(join(at, 'sbom.json'), stale);
        return { image };
      },
    },
    {
      title: 'at the gate, when the SBOM was written days ago',
      stops: 'gate',
      why: /duration\('24h'\)" is false/u,
      how(at, { digest }) {
        writeFileSync(join(at, 'sbom.json'), sbomOf(digest, new Date(Date.now() - 72 * 3_600_000)));
        return Promise.resolve({});
      },
    },
    {
      title: 'at the gate, when another builder built the image',
      stops: 'gate',
      why: /predicate\.runDetails\.builder\.id in .* is false/u,
      how: () => Promise.resolve({ env: { PORTCULLIS_BUILDER_ID: 'https://ci.example/team/fork/release' } }),
    },
    {
      title: 'before it signs, when the image is given by tag',
      always: true,
      stops: 'sign',
      code: 2,
      why: /CI_IMAGE_WITHOUT_DIGEST/u,
      how: (_at, { name }) => Promise.resolve({ image: `${name}:1` }),
    },
    {
      title: 'before it signs, when the token of the job has expired',
      stops: 'sign',
      code: 4,
      why: /TRUST_IDENTITY_TOKEN/u,
      how(at) {
        const [head = '', , tail = ''] = setup.token().split('.');
        const claims = Buffer.from(JSON.stringify({ iss: 'https://issuer.example', sub: 'x', exp: 1 }));
        writeFileSync(join(at, 'token'), `${head}.${claims.toString('base64url')}.${tail}`);
        return Promise.resolve({});
      },
    },
    {
      title: 'undecided at the gate, when the registry does not answer',
      stops: 'gate',
      code: 3,
      why: /is undecided: .* nothing listens there/u,
      how: (_at, { digest }) => Promise.resolve({ steps: ['gate'], image: `127.0.0.1:1/app@${digest}` }),
    },
  ];

  for (const { title, always, stops, code = 1, why, how } of changes)
    it(title, { skip: always === true || isWide ? false : 'npm run test:pipeline' }, async () => {
      const at = workspace();
      const built = await setup.build(at);
      const { steps: chosen = steps, image = built.image, env = {} } = await how(at, built);
      // The result of an earlier run that admitted an image.
      const { run } = setup;
      await run(at, 'sh', ['-c', 'mkdir -p reports && echo old > reports/admitted']);
      const ended = await runShell(setup, at, image, chosen, env);
      assert.equal(ended.stopped, stops, ended.output);
      assert.equal(ended.code, code, ended.output);
      assert.match(ended.output, why);
      // Nothing is handed over to a deployment.
      if (stops === 'gate') assert.ok(!existsSync(join(at, 'reports/admitted')));
    });

  async function released(at: string): Promise<Built & Run> {
    const built = await setup.build(at);
    const run = await runShell(setup, at, built.image, steps);
    assert.equal(run.code, 0, run.output);
    return { ...built, ...run };
  }

  it('at the node, when the tag refers to another image after the gate', async () => {
    const at = workspace();
    const { name } = await released(at);
    writeFileSync(join(at, 'page.txt'), 'not what was admitted\n');
    await setup.build(at);
    const { code, message } = await failureOf(setup.deploy(`${name}:1`));
    assert.equal(code, 'IMAGES_DENIED', message);
    assert.match(message, /no attestation was found for this image/u);
  });

  it('at the node, when the gate decides by a weaker policy', async () => {
    const at = workspace();
    const { image } = await setup.build(at);
    const weaker = readFileSync(join(at, 'policy.yaml'), 'utf8')
      .replaceAll(/ {14}- .*\n/gu, '')
      .replaceAll(/ {12}cel:\n/gu, '');
    writeFileSync(join(at, 'policy.yaml'), weaker);
    const run = await runShell(setup, at, image, steps);
    assert.equal(run.code, 0, run.output);
    const { code, message } = await failureOf(setup.deploy(image));
    assert.equal(code, 'IMAGES_DENIED', message);
    assert.match(message, /policy/u);
  });

  it('at the node, when the gate is skipped', async () => {
    const at = workspace();
    const { image } = await setup.build(at);
    const run = await runShell(setup, at, image, ['sign', 'attest']);
    assert.equal(run.code, 0, run.output);
    const { code, message } = await failureOf(setup.deploy(image));
    assert.equal(code, 'IMAGES_DENIED', message);
    assert.match(message, /a verification summary of https:\/\/ci\.example\/gate by/u);
  });

  const fork = 'https://example.com/team/app/.github/workflows/fork.yml@refs/heads/x';
  for (const [what, age, subject, why] of [
    ['the verification summary is old', 7_200_000, undefined, /old|age|before/u],
    ['a build signs the verification summary', 0, fork, /made by .*fork/u],
  ] as const)
    it(`at the node, when ${what}`, async () => {
      const at = workspace();
      const { name, image, digest } = await setup.build(at);
      const vsa = {
        verifier: { id: verifier },
        timeVerified: new Date(Date.now() - age).toISOString(),
        resourceUri: `oci://${name}@${digest}`,
        policy: {
          uri: 'https://ci.example/policy',
          digest: { sha256: setup.policyRevision.replace('sha256:', '') },
        },
        verificationResult: 'PASSED',
        verifiedLevels: ['SLSA_BUILD_LEVEL_1'],
        slsaVersion: '1.2',
      };
      writeFileSync(join(at, 'vsa.json'), JSON.stringify(vsa));
      if (subject !== undefined) writeFileSync(join(at, 'token'), setup.token(subject));
      const words = [
        ...['attest', image, '--type', 'vsa', '--predicate', 'vsa.json', '--keyless'],
        ...['--identity-token-file', 'token', '--signing-config', 'signing.json'],
      ];
      const signed = await setup.run(at, join(tools, 'node_modules/.bin/portcullis'), words);
      assert.equal(signed.code, 0, signed.output);
      const { code, message } = await failureOf(setup.deploy(image));
      assert.equal(code, 'IMAGES_DENIED', message);
      assert.match(message, why);
    });

  const skip = isWide ? false : 'npm run test:pipeline';
  it('at the node, when the evidence is removed after the gate', { skip }, async () => {
    const { name, image, digest } = await released(workspace());
    const repository = setup.stage.repository(name.split('/')[1] ?? '');
    const empty = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] });
    await repository.pushManifest(Buffer.from(empty), mediaTypes.ociIndex, { tag: digest.replace(':', '-') });
    assert.equal((await failureOf(setup.deploy(image))).code, 'IMAGES_DENIED');
  });

  it('at the node, when the registry changes a layer after the gate', { skip }, async () => {
    const at = workspace();
    const { name, image } = await released(at);
    const repository = setup.stage.repository(name.split('/')[1] ?? '');
    const { layers } = JSON.parse(
      Buffer.from((await repository.manifest(image.slice(image.indexOf('@') + 1))).bytes).toString(),
    ) as { layers: { digest: string }[] };
    const hex = layers.at(-1)?.digest.slice(7) ?? '';
    const [file = ''] = globSync(`**/${hex}/data`, { cwd: setup.stage.registry.folder });
    const path = join(setup.stage.registry.folder, file);
    const bytes = readFileSync(path);
    bytes[bytes.length - 20] = (bytes[bytes.length - 20] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const { message } = await failureOf(setup.deploy(image));
    assert.match(message, /digest|sha256/u);
  });
});
