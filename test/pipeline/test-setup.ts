import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHttpServer } from '../../base/connections/index.ts';
import { pack } from '../../packaging/package.ts';
import { layOutPackage } from '../fixtures/built-bundle.ts';
import { loadPolicy } from '../../trust/index.ts';
import { mockIssuer, mockSubject, startMockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import { runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { buildImage, layerOf, pushImage } from '../fixtures/image.ts';
import { execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage, podNamespace } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** The source and the builder of the pipeline of the tests. */
export const source = 'https://git.example/team/app';
export const builder = 'https://ci.example/team/app/release';
/** The same, as GitHub's variables name them. */
export const onGitHub = {
  source: 'https://github.com/team/app',
  workflow: 'team/app/.github/workflows/main.yml@refs/tags/v1',
} as const;
export const verifier = 'https://ci.example/gate';
export const revision = '3c0b1f0a1b2c3d4e5f60718293a4b5c6d7e8f901';

const identity = `sigstore: { issuer: "${mockIssuer}", subject: "${mockSubject}", root: root.json }`;

/** The policy of the gate: signed by the identity, built from the source, listed today, confined. */
export const policyText = `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
default: deny
rules:
  - images: ["**"]
    namespaces: ["${podNamespace}"]
    require:
      all:
        - ${identity}
        - attestation:
            type: slsaprovenance1
            by: sigstore
            cel:
              - predicate.runDetails.builder.id in ['${builder}', 'https://github.com/${onGitHub.workflow}']
              - predicate.buildDefinition.externalParameters.source in ['${source}', '${onGitHub.source}']
        - attestation:
            type: cyclonedx
            by: sigstore
            cel:
              - predicate.metadata.component.version == image.digest
              - now - timestamp(predicate.metadata.timestamp) < duration('24h')
    entitlements: { ceiling: baseline, require: signed }
`;

/** The node requires a summary of the gate about exactly this policy. */
const nodePolicyText = (policy: string): string => `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
default: deny
rules:
  - images: ["**"]
    namespaces: ["${podNamespace}"]
    require:
      vsa: { verifier: "${verifier}", by: { ${identity} }, maxAge: 1h, policy: "${policy}" }
    entitlements: { ceiling: baseline }
`;

export const profileText = `apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: app }
capabilities: { drop: [ALL] }
`;

/** An image that a build pushed: its name without a tag, and its digest. */
export interface Built {
  readonly name: string;
  readonly digest: string;
  /** NAME@DIGEST */
  readonly image: string;
}

/** A registry, a sigstore and a daemon on loopback, the packed npm package, and a folder for each run. */
export interface TestSetup {
  readonly stage: Stage;
  readonly services: MockSigstore;
  /** The revision of the policy of the gate. */
  readonly policyRevision: string;
  /** The packed npm package. */
  readonly file: string;
  /** Folder with `node`, `npm` and `npx`. */
  readonly bin: string;
  /** Address of a token service like that of GitHub Actions. */
  readonly tokenUrl: string;
  token(subject?: string): string;
  /** A new folder with source, policy, trusted root, signing configuration and profile. */
  workspace(): string;
  /** Builds an image from the source in a folder, pushes it, and writes sbom.json and provenance.json. */
  build(folder: string, tag?: string): Promise<Built>;
  environment(folder: string): NodeJS.ProcessEnv;
  run(folder: string, program: string, words: readonly string[], more?: NodeJS.ProcessEnv): Promise<Ended>;
  /** Pulls the reference and runs it in a pod; returns what its server file says, or throws the refusal. */
  deploy(reference: string): Promise<string>;
  close(): Promise<void>;
}

/** Import private-namespaces.ts first. */
export async function openTestSetup(): Promise<TestSetup> {
  const folder = mkdtempSync(join(tmpdir(), 'pc-pipeline-'));
  const services = await startMockSigstore();
  const root = JSON.stringify(services.trustedRoot());
  await layOutPackage(join(folder, 'package'));
  const file = join(folder, pack(join(folder, 'package'), folder));
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  symlinkSync(process.execPath, join(bin, 'node'));
  const npm = join(spawnSync('npm', ['root', '--global'], { encoding: 'utf8' }).stdout.trim(), 'npm/bin');
  for (const program of ['npm', 'npx']) symlinkSync(join(npm, `${program}-cli.js`), join(bin, program));
  assert.ok(existsSync(join(npm, 'npm-cli.js')), 'npm is installed');
  // A stage reads its policy, and the root that the policy names, when its daemon starts.
  const place = join(folder, 'stage');
  mkdirSync(join(place, 'policy'), { recursive: true });
  writeFileSync(join(place, 'policy/root.json'), root);
  writeFileSync(join(place, 'root.json'), root);
  writeFileSync(join(place, 'policy.yaml'), policyText);
  const { policy } = await loadPolicy({ paths: [join(place, 'policy.yaml')] });
  const stage = await openStage({ folder: place, policy: nodePolicyText(policy.revision) });
  const token = (subject = mockSubject): string => `${services.token({ rekor: 2, subject })}c2ln`;
  const tokens = createHttpServer((_request, response) => response.end(JSON.stringify({ value: token() })));
  await new Promise<void>((resolve) => tokens.listen(0, '127.0.0.1', resolve));
  const names = new Map<string, string>();

  const environment = (at: string): NodeJS.ProcessEnv => ({
    ...{ PATH: `${bin}:/usr/sbin:/usr/bin:/bin`, HOME: join(at, '.home'), TMPDIR: at },
    ...{ npm_config_offline: 'true', npm_config_update_notifier: 'false' },
  });
  return {
    ...{ stage, services, file, bin, token, environment, policyRevision: policy.revision },
    tokenUrl: `http://127.0.0.1:${(tokens.address() as AddressInfo).port}/?`,
    workspace() {
      const at = mkdtempSync(join(folder, 'run-'));
      mkdirSync(join(at, '.home'));
      writeFileSync(join(at, 'page.txt'), `page ${randomBytes(8).toString('hex')}\n`);
      writeFileSync(join(at, 'policy.yaml'), policyText);
      writeFileSync(join(at, 'root.json'), root);
      writeFileSync(join(at, 'signing.json'), JSON.stringify(services.signingConfig({ rekor: 2 })));
      writeFileSync(join(at, 'profile.yaml'), profileText);
      writeFileSync(join(at, 'token'), token());
      return at;
    },
    async build(at, tag = '1') {
      const repository = names.get(at) ?? `app-${randomBytes(4).toString('hex')}`;
      names.set(at, repository);
      const page = readFileSync(join(at, 'page.txt'));
      const image = await buildImage({ layers: [await layerOf([{ name: 'page.txt', body: page }])] });
      await pushImage(stage.repository(repository), image, tag);
      const digest = image.manifestDigest;
      const name = `${stage.registry.host}/${repository}`;
      writeFileSync(join(at, 'sbom.json'), sbomOf(digest));
      writeFileSync(join(at, 'provenance.json'), provenanceOf());
      return { name, digest, image: `${name}@${digest}` };
    },
    run: (at, program, words, more = {}) => runProgram(program, words, { ...environment(at), ...more }, at),
    async deploy(reference) {
      const image = await stage.pull(reference);
      const pod = await runPod(stage, `app-${randomBytes(4).toString('hex')}`);
      try {
        const id = await runContainer(stage, pod, { image, reference, command: ['sleep', '600'] });
        return (await execute(stage, id, 'cat', '/page.txt')).stdout;
      } finally {
        await removePod(stage, pod);
      }
    },
    async close() {
      tokens.close();
      await stage.close();
      await services.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export function sbomOf(digest: string, written = new Date()): string {
  return JSON.stringify({
    ...{ bomFormat: 'CycloneDX', specVersion: '1.6', version: 1, components: [] },
    metadata: {
      timestamp: written.toISOString(),
      component: { type: 'container', name: 'app', version: digest },
    },
  });
}

export function provenanceOf(by = builder): string {
  return JSON.stringify({
    buildDefinition: {
      buildType: 'https://portcullis.dev/pipeline/v1',
      externalParameters: { source, ref: 'refs/tags/v1' },
      resolvedDependencies: [{ uri: `git+${source}@refs/tags/v1`, digest: { gitCommit: revision } }],
    },
    runDetails: { builder: { id: by } },
  });
}
