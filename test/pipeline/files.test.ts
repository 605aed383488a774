/** The pipeline files as they are read: by the parser of their platform if there is one, and by rules. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { parseAllDocuments } from 'yaml';
import { findTool } from '../fixtures/tools.ts';
import { files, substitute } from './platforms.ts';

const tektonLint = findTool('tekton-lint');
const read = (path: string): string => readFileSync(join(files, path), 'utf8');
const all = globSync('**/*', { cwd: files, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name).slice(files.length + 1))
  .sort();

interface Parsed {
  readonly context: { readonly errors: { getErrors(): readonly { readonly message: string }[] } };
}
type Parse = (file: { readonly name: string; readonly content: string }, trace: object) => Parsed;

describe('the pipeline files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-ci-files-'));
  after(() => rmSync(folder, { recursive: true }));

  it('of GitHub have no error according to the parser of GitHub', async () => {
    // The parser imports JSON without an attribute, which Node refuses.
    const contents = `export { parseWorkflow } from '@actions/workflow-parser';
export { parseAction } from '@actions/workflow-parser/actions/action-parser';`;
    const outfile = join(folder, 'parser.mjs');
    const require = "import { createRequire as c } from 'node:module'; const require = c(import.meta.url);";
    await build({
      ...{ stdin: { contents, resolveDir: import.meta.dirname }, outfile, banner: { js: require } },
      ...{ bundle: true, platform: 'node', format: 'esm', logLevel: 'error' },
    });
    const parser = (await import(pathToFileURL(outfile).href)) as {
      parseWorkflow: Parse;
      parseAction: Parse;
    };
    const errorsOf = (parse: Parse, name: string, content: string): readonly string[] => {
      const trace = { info: () => undefined, error: () => undefined, verbose: () => undefined };
      return parse({ name, content }, trace)
        .context.errors.getErrors()
        .map(({ message }) => message);
    };
    assert.deepEqual(errorsOf(parser.parseWorkflow, 'release.yml', read('github/release.yml')), []);
    const actions = globSync('github/*/action.yml', { cwd: files });
    assert.equal(actions.length, 4);
    for (const action of actions) assert.deepEqual(errorsOf(parser.parseAction, action, read(action)), []);
    assert.notDeepEqual(
      errorsOf(parser.parseAction, 'x', 'name: x\nruns: { using: composite, steps: [{}] }'),
      [],
    );
  });

  it('that are YAML have no error and no duplicate key', () => {
    const documents = all.filter((path) => /\.ya?ml$/u.test(path));
    assert.ok(documents.length >= 12);
    for (const path of documents)
      for (const document of parseAllDocuments(read(path))) assert.deepEqual(document.errors, [], path);
  });

  it('for the shell are valid POSIX sh', () => {
    for (const path of all.filter((one) => one.startsWith('shell/'))) {
      const { status, stderr } = spawnSync('sh', ['-n', join(files, path)], { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
    }
  });

  it('leave no report of an earlier run when the gate stops before it decides', () => {
    const digest = `sha256:${'0'.repeat(64)}`;
    for (const image of ['registry.example/app:1', `registry.example/app@${digest}`]) {
      const reports = mkdtempSync(join(folder, 'reports-'));
      const names = ['admitted', 'gate.md', 'gate.sarif', 'gate.xml'];
      for (const name of names) writeFileSync(join(reports, name), 'every image passes');
      const env = { PATH: process.env['PATH'], PORTCULLIS_IMAGE: image, PORTCULLIS_REPORTS: reports };
      const { status, stderr } = spawnSync('sh', [join(files, 'shell/gate')], { encoding: 'utf8', env });
      assert.notEqual(status, 0, stderr);
      assert.deepEqual(readdirSync(reports), []);
    }
  });

  it('refuse an option of the command as an image', () => {
    const image = `--images-from=list@sha256:${'0'.repeat(64)}`;
    const env = { PATH: process.env['PATH'], PORTCULLIS_IMAGE: image };
    for (const step of ['sign', 'attest', 'gate']) {
      const at = { cwd: folder, encoding: 'utf8', env } as const;
      const { status, stderr } = spawnSync('sh', [join(files, 'shell', step)], at);
      assert.equal(status, 2);
      assert.match(stderr, /CI_IMAGE_WITHOUT_DIGEST/u);
    }
  });

  it('do not report an image as denied when no policy is named, also where sh is bash', () => {
    const image = `registry.example/app@sha256:${'0'.repeat(64)}`;
    const env = { PATH: process.env['PATH'], PORTCULLIS_IMAGE: image };
    for (const shell of [['sh'], ['bash', '--posix']] as const) {
      const [program, ...options] = [...shell, join(files, 'shell/gate')];
      const { status, stderr } = spawnSync(program, options, { cwd: folder, encoding: 'utf8', env });
      assert.equal(status, 2, `${shell.join(' ')}: ${stderr}`);
      assert.match(stderr, /CI_POLICY_MISSING/u);
    }
  });

  it('install nothing and remove nothing when no package is named, also where sh is bash', () => {
    const at = mkdtempSync(join(folder, 'workspace-'));
    mkdirSync(join(at, '.portcullis'));
    for (const shell of [['sh'], ['bash', '--posix']] as const) {
      const [program, ...options] = [...shell, join(files, 'shell/setup')];
      const env = { PATH: process.env['PATH'] };
      const { status, stdout, stderr } = spawnSync(program, options, { cwd: at, encoding: 'utf8', env });
      assert.deepEqual([status, stdout, readdirSync(at)], [2, '', ['.portcullis']]);
      assert.match(stderr, /set PORTCULLIS_PACKAGE to .*CI_PACKAGE_MISSING/u);
    }
  });

  it('never put an input into the text of a command', () => {
    for (const path of all.filter((one) => /\.(?:ya?ml)$/u.test(one)))
      for (const text of commandsIn(path)) assert.doesNotMatch(text, /\$\{\{|\$\[\[|\$\(params/u, path);
    for (const path of all.filter((one) => one.endsWith('.groovy'))) {
      const calls = [...read(path).matchAll(/\bsh\b\s*(.)/gu)];
      assert.ok(calls.length > 0);
      // A text in double quotes would be expanded by Groovy.
      for (const [, quote] of calls) assert.equal(quote, "'", path);
    }
  });

  it('of GitHub download no artifact into the checkout, where it could replace the actions of the job', () => {
    const text = read('github/release.yml');
    const steps = text.split(/\n {6}- /u).filter((step) => step.includes('actions/download-artifact@'));
    assert.equal(steps.length, 1);
    for (const step of steps) assert.match(step, /\n {10}path: \$\{\{ runner\.temp \}\}\/sbom\n?/u);
    assert.match(text, /sbom: .*format\('\{0\}\/sbom\/\{1\}', runner\.temp, inputs\.sbom\)/u);
  });

  it('install into an empty folder, whatever a build has left in the workspace', () => {
    const at = mkdtempSync(join(folder, 'workspace-'));
    const bin = join(at, '.portcullis/node_modules/.bin');
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, 'portcullis'), '#!/bin/sh\necho left by the build\n', { mode: 0o755 });
    writeFileSync(join(at, '.portcullis/.npmrc'), 'ignore-scripts=false\n');
    const env = { PATH: process.env['PATH'], PORTCULLIS_PACKAGE: './missing.tgz', HOME: at };
    const setup = [
      join(files, 'shell/setup'),
      ...['sign', 'attest', 'gate'].map((name) => `gitlab/templates/${name}.yml`),
      'jenkins/vars/portcullisSetup.groovy',
    ];
    const [script = '', ...others] = setup;
    const { status, stdout } = spawnSync('sh', [script], { cwd: at, encoding: 'utf8', env });
    assert.notEqual(status, 0);
    assert.equal(stdout, '');
    assert.deepEqual([existsSync(bin), existsSync(join(at, '.portcullis/.npmrc'))], [false, false]);
    for (const path of others)
      assert.match(read(path), /rm -rf \.portcullis(?:\n {4}- | && )npm install/u, path);
  });

  it('request an identity only in jobs that sign, and no permission at the top level', () => {
    interface Workflow {
      readonly permissions: object;
      readonly jobs: Readonly<Record<string, { readonly permissions: Readonly<Record<string, string>> }>>;
    }
    const { permissions, jobs } = parseAllDocuments(read('github/release.yml'))[0]?.toJS() as Workflow;
    assert.deepEqual(permissions, {});
    for (const job of Object.values(jobs))
      assert.deepEqual(job.permissions, { contents: 'read', packages: 'write', 'id-token': 'write' });
  });

  it('name exact versions of their tools', () => {
    for (const [, name = ''] of read('github/release.yml').matchAll(/uses: (\S+)/gu))
      assert.match(name, /^\.\/|@[0-9a-f]{40}$/u);
    for (const path of all)
      for (const [, name = ''] of read(path).matchAll(
        /(?:image: |default: |'|")((?:docker\.io\/library\/)?node:\S+|portcullis@\S+)/gu,
      ))
        assert.match(name, /\d+\.\d+\.\d+/u, path);
  });

  it('pass every variable that the scripts read', () => {
    const variables = new Set(
      [
        ...['sign', 'attest', 'gate', 'common'].flatMap((name) => [
          ...read(`shell/${name}`).matchAll(/^# {3}(PORTCULLIS_\w+)/gmu),
        ]),
      ].map(([, name]) => name ?? ''),
    );
    assert.ok(variables.size > 10);
    for (const [name, paths] of Object.entries({
      GitHub: 'github/*/action.yml',
      GitLab: 'gitlab/templates/*.yml',
      Tekton: 'tekton/*.yaml',
      Jenkins: 'jenkins/vars/*.groovy',
    })) {
      const text = globSync(paths, { cwd: files }).map(read).join('\n');
      // GitHub and GitLab have a token for each job.
      const own = name === 'GitHub' || name === 'GitLab' ? ['PORTCULLIS_IDENTITY_TOKEN_FILE'] : [];
      for (const variable of variables)
        if (!own.includes(variable)) assert.ok(text.includes(variable), `${name} does not pass ${variable}`);
    }
  });

  it('of Tekton use only names that are declared', () => {
    for (const path of globSync('tekton/*.yaml', { cwd: files })) {
      const text = read(path);
      const task = parseAllDocuments(text)[0]?.toJS() as {
        spec: { params: { name: string }[]; results?: { name: string }[]; tasks?: { name: string }[] };
      };
      const names = Object.fromEntries([
        ...task.spec.params.map(({ name }) => [`params.${name}`, 'x']),
        ...(task.spec.results ?? []).map(({ name }) => [`results.${name}.path`, 'x']),
        ...(task.spec.tasks ?? []).map(({ name }) => [`tasks.${name}.results.admitted`, 'x']),
        ['workspaces.source.path', 'x'],
      ]) as Record<string, string>;
      assert.doesNotThrow(() => substitute(text, names), path);
    }
  });

  it('of Tekton have no error according to a linter of Tekton', { skip: tektonLint.skip }, () => {
    const lint = (...words: readonly string[]): { status: number | null; stdout: string } =>
      spawnSync(process.execPath, [realpathSync(tektonLint.path), ...words], {
        cwd: folder,
        encoding: 'utf8',
      });
    const { status, stdout } = lint(
      ...globSync('tekton/*.yaml', { cwd: files }).map((path) => join(files, path)),
    );
    assert.equal(status, 0, stdout);
    assert.doesNotMatch(stdout, /error|warning/u);
    writeFileSync(
      join(folder, 'wrong.yaml'),
      read('tekton/gate.yaml').replace('params.policy)', 'params.polic)'),
    );
    const wrong = lint('wrong.yaml');
    assert.equal(wrong.status, 1);
    assert.match(wrong.stdout, /Undefined param 'polic'/u);
  });

  it('write provenance without the password of a repository, and refuse to write incomplete provenance', () => {
    const run = (env: NodeJS.ProcessEnv): { status: number | null; stdout: string; stderr: string } =>
      spawnSync(join(files, 'shell/provenance'), [], {
        encoding: 'utf8',
        env: { PATH: `${join(process.execPath, '..')}:/usr/bin:/bin`, ...env },
      });
    const jenkins = {
      JENKINS_URL: 'https://ci.example/',
      BUILD_URL: 'https://ci.example/job/app/7/',
      JOB_URL: 'https://ci.example/job/app/',
      GIT_URL: 'https://robot:hunter2@git.example/team/app.git',
      GIT_BRANCH: 'origin/"main',
      GIT_COMMIT: '3c0b1f0a1b2c3d4e5f60718293a4b5c6d7e8f901',
    };
    const { status, stdout, stderr } = run(jenkins);
    assert.equal(status, 0, stderr);
    assert.doesNotMatch(stdout, /hunter2|robot/u);
    const { buildDefinition } = JSON.parse(stdout) as { buildDefinition: { externalParameters: object } };
    assert.deepEqual(buildDefinition.externalParameters, {
      source: 'https://git.example/team/app.git',
      ref: 'origin/"main',
    });
    const half = run({ ...jenkins, GIT_COMMIT: '' });
    assert.equal(half.status, 2);
    assert.match(half.stderr, /does not name the revision.*CI_PROVENANCE_INCOMPLETE/u);
  });
});

/** The texts of a YAML file that a shell runs. */
function commandsIn(path: string): string[] {
  const found: string[] = [];
  const walk = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, child] of Object.entries(value)) {
      if (['run', 'script', 'before_script'].includes(key)) found.push(...[child].flat().map(String));
      walk(child);
    }
  };
  for (const document of parseAllDocuments(read(path))) walk(document.toJS());
  return found;
}
