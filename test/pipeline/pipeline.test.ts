/**
 * The pipeline files of packaging/ci, from a source to a running pod, on loopback. GitHub's workflow runs
 * in act, GitLab's components in gitlab-ci-local and Jenkins' library in its Groovy; the commands of the
 * other files run as they are.
 * `npm test` runs the scripts; `npm run test:pipeline` runs every platform.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeKey, policyOf } from '../fixtures/stage.ts';
import { files, platforms } from './platforms.ts';
import { openTestSetup, revision } from './test-setup.ts';
import type { TestSetup } from './test-setup.ts';

const isWide = process.env['PORTCULLIS_WIDE'] === '1';

describe('from a source to a running pod', () => {
  let setup: TestSetup;
  before(async () => {
    setup = await openTestSetup();
  });
  after(() => setup.close());

  for (const platform of platforms) {
    const skip = isWide || platform.name === 'shell' ? platform.skip : 'npm run test:pipeline';
    it(platform.name, { skip }, async () => {
      const at = setup.workspace();
      const built = await setup.build(at);
      const run = await platform.run(setup, at, built);
      assert.equal(run.code, 0, run.output);
      assert.equal(run.admitted, built.image, run.output);
      assert.equal(await setup.deploy(run.admitted), readFileSync(join(at, 'page.txt'), 'utf8'));
    });
  }

  it(
    'the example of the documentation for the shell',
    { skip: isWide ? false : 'npm run test:pipeline' },
    async () => {
      const at = setup.workspace();
      const built = await setup.build(at);
      for (const key of ['cosign', 'gate']) await makeKey(join(at, `${key}.key`), join(at, `${key}.pub`));
      writeFileSync(
        join(at, 'policy.yaml'),
        policyOf(`  - images: ["**"]
    require:
      all:
        - cosign: { key: cosign.pub }
        - attestation: { type: slsaprovenance1, by: { cosign: { key: cosign.pub } } }
`),
      );
      cpSync(files, join(at, 'packaging/ci'), { recursive: true });
      const page = readFileSync(join(import.meta.dirname, '../../docs/pipelines.md'), 'utf8');
      const [, example = ''] = /## Plain shell[^]*?```sh\n([^]*?)```/u.exec(page) ?? [];
      const script = `git() { echo ${revision}; }
deploy() { printf '%s' "$1" >deployed; }
${example}`
        .replace('portcullis@0.1.0', setup.file)
        .replace('registry.example.com/team/app@sha256:…', built.image);
      const { code, output } = await setup.run(at, 'sh', ['-c', script]);
      assert.equal(code, 0, output);
      assert.equal(readFileSync(join(at, 'deployed'), 'utf8'), built.image);
    },
  );
});
