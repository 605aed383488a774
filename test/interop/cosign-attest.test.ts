import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { parseReference } from '../../base/distribution/index.ts';
import {
  attestReference,
  explainVerdict,
  loadPolicy,
  loadSigningKey,
  openRegistries,
  readPredicate,
  verifyImage,
} from '../../trust/index.ts';
import type { RegistryAccess, Verdict } from '../../trust/index.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { makeKey } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const cosign = findTool('cosign');
const run = promisify(execFile);
const predicates = join(import.meta.dirname, '../../trust/attestation/fixtures/predicates');

/** Without a transparency log and without public services, to which this network namespace has no route. */
const offline = ['--allow-insecure-registry'];
const offlineAttest = ['--tlog-upload=false', '--use-signing-config=false', '--yes', ...offline];
const offlineVerify = ['--insecure-ignore-tlog=true', '--private-infrastructure', ...offline];

/** The name of the type for cosign and for us, and the condition on the predicate. */
const kinds: readonly { readonly type: string; readonly file: string; readonly cel: string }[] = [
  {
    type: 'slsaprovenance1',
    file: 'slsaprovenance1',
    cel: "predicate.runDetails.builder.id.startsWith('https://github.com/example/pay/')",
  },
  {
    type: 'slsaprovenance',
    file: 'slsaprovenance02',
    cel: "predicate.builder.id.contains('slsa-github-generator')",
  },
  { type: 'spdxjson', file: 'spdxjson', cel: "predicate.packages.exists(p, p.name == 'openssl')" },
  { type: 'cyclonedx', file: 'cyclonedx', cel: "predicate.bomFormat == 'CycloneDX'" },
  { type: 'vuln', file: 'vuln', cel: "predicate.scanner.uri.startsWith('pkg:github/aquasecurity/trivy@')" },
  { type: 'openvex', file: 'openvex', cel: "predicate.statements.all(s, s.status == 'not_affected')" },
  { type: 'custom', file: 'vsa', cel: "predicate.Data.contains('PASSED')" },
  {
    type: 'https://slsa.dev/verification_summary/v1',
    file: 'vsa',
    cel: "predicate.verificationResult == 'PASSED'",
  },
];

describe('cosign attest', { skip: cosign.skip }, () => {
  let folder = '';
  let registry: TestRegistry;
  let access: RegistryAccess;
  let environment: NodeJS.ProcessEnv = {};
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-attest-'));
    environment = { ...process.env, HOME: folder, TUF_ROOT: join(folder, 'tuf'), COSIGN_PASSWORD: 'secret' };
    registry = await startRegistry();
    access = await openRegistries({ mirrors: [], insecureHosts: [] });
    await run(cosign.path, ['generate-key-pair', '--output-key-prefix', join(folder, 'theirs')], {
      env: environment,
    });
    await makeKey(join(folder, 'ours.key'), join(folder, 'ours.pub'));
    await makeKey(join(folder, 'others.key'), join(folder, 'others.pub'));
  });
  after(async () => {
    await access.close();
    await registry.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function publish(name: string): Promise<{ readonly reference: string; readonly target: string }> {
    const image = await buildImage({});
    const [repository] = await access.repositories(parseReference(`${registry.host}/${name}`));
    assert.ok(repository);
    await pushImage(repository, image, '1');
    return {
      reference: `${registry.host}/${name}:1`,
      target: `${registry.host}/${name}@${image.manifestDigest}`,
    };
  }

  async function verdict(reference: string, type: string, by: string, cel: string): Promise<Verdict> {
    const file = join(folder, 'policy.yaml');
    writeFileSync(
      file,
      `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require:\n      attestation: ${JSON.stringify({ type, by: { cosign: { key: by } }, cel })}\n`,
    );
    const { policy } = await loadPolicy({ paths: [file] });
    return (await verifyImage({ reference, namespace: '', policy, registry: access, now: new Date() }))
      .verdict;
  }

  const succeeds = (args: readonly string[]): Promise<{ readonly code: number; readonly output: string }> =>
    new Promise((resolve) => {
      execFile(cosign.path, args, { env: environment }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
      );
    });

  for (const format of ['bundle', 'legacy'] as const) {
    for (const { type, file, cel } of kinds) {
      it(`an attestation of cosign as ${type} in the form ${format} counts for its key, its type and its predicate`, async () => {
        const { reference, target } = await publish(`theirs-${file}-${format}`);
        assert.equal((await verdict(reference, type, 'theirs.pub', cel)).outcome, 'deny');
        const args = [
          '--key',
          join(folder, 'theirs.key'),
          '--type',
          type,
          '--predicate',
          join(predicates, `${file}.json`),
        ];
        await run(
          cosign.path,
          ['attest', ...args, `--new-bundle-format=${format === 'bundle'}`, ...offlineAttest, target],
          {
            env: environment,
          },
        );
        const yes = await verdict(reference, type, 'theirs.pub', cel);
        assert.equal(yes.outcome, 'admit', explainVerdict(yes));
        assert.match(
          explainVerdict(yes),
          format === 'bundle' ? /found by fallback-tag/ : /found by tag sha256-[0-9a-f]+\.att/,
        );
        assert.equal((await verdict(reference, type, 'theirs.pub', `!(${cel})`)).outcome, 'deny');
        assert.equal((await verdict(reference, type, 'others.pub', cel)).outcome, 'deny');
        assert.equal((await verdict(reference, 'link', 'theirs.pub', 'true')).outcome, 'deny');
      });

      it(`cosign verify-attestation accepts our attestation as ${type} in the form ${format}`, async () => {
        const { reference, target } = await publish(`ours-${file}-${format}`);
        const now = new Date();
        const predicate = await readPredicate(join(predicates, `${file}.json`), type, now);
        const key = await loadSigningKey(join(folder, 'ours.key'), { environment: {} });
        await attestReference({ reference, key, type, predicate, format, registry: access, now });
        const check = (by: string, of: string) =>
          succeeds([
            'verify-attestation',
            '--key',
            join(folder, by),
            '--type',
            of,
            ...(format === 'legacy' ? ['--new-bundle-format=false'] : []),
            ...offlineVerify,
            target,
          ]);
        const accepted = await check('ours.pub', type);
        assert.equal(accepted.code, 0, accepted.output);
        assert.notEqual((await check('others.pub', type)).code, 0, 'another key');
        assert.notEqual((await check('ours.pub', 'link')).code, 0, 'another type');
        const own = await verdict(reference, type, 'ours.pub', cel);
        assert.equal(own.outcome, 'admit', explainVerdict(own));
      });
    }
  }
});
