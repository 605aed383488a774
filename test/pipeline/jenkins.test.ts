/** Jenkins' shared library in the Groovy that Jenkins has. What its steps call is recorded. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { runProgram } from '../fixtures/command.ts';
import { groovy, runJenkins } from './platforms.ts';

describe('the shared library of Jenkins, run by its Groovy', { skip: groovy.skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-jenkins-'));
  after(() => rmSync(folder, { recursive: true }));

  /** The installed package in these tests. It writes down with which variables a step calls it. */
  const prepare = (status = 0): string => {
    const at = mkdtempSync(join(folder, 'jenkins-'));
    const shell = join(at, '.portcullis/node_modules/portcullis/packaging/ci/shell');
    mkdirSync(shell, { recursive: true });
    for (const step of ['sign', 'attest', 'gate'])
      writeFileSync(
        join(shell, step),
        `#!/bin/sh
env | grep ^PORTCULLIS_ | sort >${step}.env
mkdir -p portcullis-reports
echo '<testsuites><testsuite name="gate"/></testsuites>' >portcullis-reports/gate.xml
[ ${status} = 0 ] || exit ${status}
echo "$PORTCULLIS_IMAGE" >portcullis-reports/admitted
`,
        { mode: 0o755 },
      );
    return at;
  };
  const setup = {
    run: (at: string, program: string, words: readonly string[], more: NodeJS.ProcessEnv = {}) =>
      runProgram(program, words, { PATH: process.env['PATH'], ...more }, at),
  };
  const image = `registry.example/app@sha256:${'0'.repeat(64)}`;

  it('treats an option that looks like a command or like Groovy as a value', async () => {
    const at = prepare();
    const hostile = `$(touch made)"; touch made # \${env.PATH} ' = ${image}`;
    const script = 'portcullisSign(new groovy.json.JsonSlurper().parseText(env.OPTIONS))';
    const { code, output } = await runJenkins(setup, at, script, { image: hostile, key: hostile });
    assert.equal(code, 0, output);
    const lines = readFileSync(join(at, 'sign.env'), 'utf8').split('\n');
    for (const name of ['PORTCULLIS_IMAGE', 'PORTCULLIS_KEY'])
      assert.ok(lines.includes(`${name}=${hostile}`), lines.join('\n'));
    assert.ok(!existsSync(join(at, 'made')));
  });

  it('runs the example of the documentation, and returns the image that the gate admitted', async () => {
    const at = prepare();
    const page = readFileSync(join(import.meta.dirname, '../../docs/pipelines.md'), 'utf8');
    const [, example = ''] = /```groovy\n([^]*?)```/u.exec(page) ?? [];
    assert.match(example, /^def admitted = portcullisGate/mu);
    const script = `def image = '${image}'
${example.replace('portcullisSetup()', '')}
writeFile file: 'deployed', text: admitted`;
    const { code, output } = await runJenkins(setup, at, script, {});
    assert.equal(code, 0, output);
    assert.equal(readFileSync(join(at, 'deployed'), 'utf8'), image);
    const gate = readFileSync(join(at, 'gate.env'), 'utf8');
    assert.match(gate, /^PORTCULLIS_VERIFIER_ID=https:\/\/ci\.example\.com\/gate$/mu);
    assert.match(readFileSync(join(at, 'attest.env'), 'utf8'), /^PORTCULLIS_SBOM=sbom\.json$/mu);
  });

  it('ends the build after a denial, publishes the report, and returns nothing', async () => {
    const at = prepare(1);
    const script = `writeFile file: 'deployed', text: portcullisGate(image: '${image}', policy: 'p.yaml')`;
    const { code, output } = await runJenkins(setup, at, script, {});
    assert.equal(code, 1, output);
    assert.match(output, /junit: 1 suites/u);
    assert.ok(!existsSync(join(at, 'deployed')));
  });
});
