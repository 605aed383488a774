import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Ended } from '../fixtures/command.ts';
import { findTool } from '../fixtures/tools.ts';
import { builder, onGitHub, revision, source, verifier } from './test-setup.ts';
import type { Built, TestSetup } from './test-setup.ts';

export const files = join(import.meta.dirname, '../../packaging/ci');

/** The result of a run of a pipeline. */
export interface Run {
  readonly code: number | null;
  readonly output: string;
  /** The reference that it hands over to a deployment. */
  readonly admitted?: string;
}

/** Runs the files of one platform on an image that was built: sign, attest, gate. */
export interface Platform {
  readonly name: string;
  readonly skip: string | false;
  run(setup: TestSetup, folder: string, built: Built): Promise<Run>;
}

const act = findTool('act');
const rsync = findTool('rsync');
export const groovy = findTool('groovy');
const admittedBy = (path: string): { readonly admitted?: string } =>
  existsSync(path) ? { admitted: readFileSync(path, 'utf8').trim() } : {};

/** The inputs of every platform, by the name that the files give them. */
const inputsOf = (setup: TestSetup, { image }: Built): Record<string, string> => ({
  ...{ image, policy: 'policy.yaml', namespace: 'shop', package: setup.file },
  ...{ sbom: 'sbom.json', entitlements: 'profile.yaml', provenance: 'provenance.json' },
  ...{ 'signing-config': 'signing.json', 'verifier-id': verifier },
});

/** The variables of the scripts. The last wins. */
export const shellEnvironment = (
  setup: TestSetup,
  folder: string,
  image: string,
): Record<string, string> => ({
  ...{
    PORTCULLIS_PACKAGE: setup.file,
    PORTCULLIS_HOME: join(folder, '.portcullis'),
    PORTCULLIS_IMAGE: image,
  },
  ...{ PORTCULLIS_VERIFIER_ID: verifier },
  ...{ PORTCULLIS_SIGNING_CONFIG: 'signing.json', PORTCULLIS_IDENTITY_TOKEN_FILE: 'token' },
  ...{ PORTCULLIS_SBOM: 'sbom.json', PORTCULLIS_ENTITLEMENTS: 'profile.yaml' },
  ...{ PORTCULLIS_SOURCE_URI: source, PORTCULLIS_SOURCE_REVISION: revision, PORTCULLIS_BUILDER_ID: builder },
  ...{
    PORTCULLIS_POLICY: 'policy.yaml',
    PORTCULLIS_NAMESPACE: 'shop',
    PORTCULLIS_REPORTS: join(folder, 'reports'),
  },
});

export type Step = 'setup' | 'sign' | 'attest' | 'gate';

/** Runs the scripts themselves, until one fails. Provenance is written from the variables. */
export async function runShell(
  setup: TestSetup,
  folder: string,
  image: string,
  steps: readonly Step[] = ['setup', 'sign', 'attest', 'gate'],
  more: NodeJS.ProcessEnv = {},
): Promise<Run & { readonly stopped?: Step }> {
  const env = { ...shellEnvironment(setup, folder, image), ...more };
  const path = `${folder}/.portcullis/node_modules/.bin:${String(setup.environment(folder)['PATH'])}`;
  let output = '';
  for (const step of steps) {
    const ended = await setup.run(folder, join(files, 'shell', step), [], { PATH: path, ...env });
    output += ended.output;
    if (ended.code !== 0) return { code: ended.code, output, stopped: step };
  }
  return { code: 0, output, ...admittedBy(join(folder, 'reports/admitted')) };
}

const shell: Platform = {
  name: 'shell',
  skip: false,
  run: (setup, folder, { image }) => runShell(setup, folder, image),
};

/** act runs the reusable workflow. Actions of GitHub itself, which fetch from the network, do nothing. */
const github: Platform = {
  name: 'GitHub Actions',
  skip: act.skip,
  async run(setup, folder, built) {
    const [workflows, parts] = [join(folder, '.github/workflows'), join(folder, '.github/portcullis')];
    for (const part of ['shell', 'github']) cpSync(join(files, part), join(parts, part), { recursive: true });
    mkdirSync(workflows);
    renameSync(join(parts, 'github/release.yml'), join(workflows, 'release.yml'));
    const { provenance: _written, ...inputs } = inputsOf(setup, built);
    const jobs = {
      release: { uses: './.github/workflows/release.yml', with: inputs },
      deploy: {
        needs: 'release',
        'runs-on': 'ubuntu-24.04',
        env: { ADMITTED: '${{ needs.release.outputs.admitted }}' },
        steps: [{ run: `printf '%s' "$ADMITTED" > '${folder}/admitted'` }],
      },
    };
    const permissions = { contents: 'read', packages: 'write', 'id-token': 'write' };
    writeFileSync(join(workflows, 'main.yml'), JSON.stringify({ on: 'push', permissions, jobs }));
    const nothing = join(folder, '.nothing');
    mkdirSync(nothing);
    // The artifact "sbom" comes into the folder that the workflow names.
    const run = 'if [ -n "$AT" ]; then mkdir -p "$AT" && cp sbom.json "$AT"; fi';
    const steps = [{ run, shell: 'sh', env: { AT: '${{ inputs.path }}' } }];
    const runs = { using: 'composite', steps };
    const taken = { path: { description: 'folder', default: '' } };
    writeFileSync(
      join(nothing, 'action.yml'),
      JSON.stringify({ name: 'nothing', description: 'nothing', inputs: taken, runs }),
    );
    await commit(setup, nothing);
    await commit(setup, folder, `${onGitHub.source}.git`);
    const text = readFileSync(join(workflows, 'release.yml'), 'utf8');
    const foreign = [...text.matchAll(/uses: (actions\/\S+)/gu)].map(([, name = '']) => name);
    const words = [
      ...['push', '--workflows', join(workflows, 'main.yml'), '--platform', 'ubuntu-24.04=-self-hosted'],
      ...['--container-daemon-socket', '-', '--no-cache-server'],
      ...foreign.flatMap((name) => ['--local-repository', `${name}=${nothing}`]),
      ...[
        '--env',
        `ACTIONS_ID_TOKEN_REQUEST_URL=${setup.tokenUrl}`,
        '--env',
        'ACTIONS_ID_TOKEN_REQUEST_TOKEN=x',
      ],
      ...['--env', 'npm_config_offline=true', '--env', `GITHUB_WORKFLOW_REF=${onGitHub.workflow}`],
    ];
    const ended = await setup.run(folder, act.path, words, { XDG_CACHE_HOME: join(folder, '.cache') });
    return { ...resultOf(ended), ...admittedBy(join(folder, 'admitted')) };
  },
};

/** gitlab-ci-local runs the components, by the schema of GitLab. */
const gitlab: Platform = {
  name: 'GitLab CI/CD',
  skip: rsync.skip,
  async run(setup, folder, built) {
    cpSync(join(files, 'gitlab/templates'), join(folder, 'templates'), { recursive: true });
    const all = inputsOf(setup, built);
    const include = ['sign', 'attest', 'gate'].map((name) => {
      const local = `/templates/${name}.yml`;
      const [head] = parseAllDocuments(readFileSync(join(folder, local), 'utf8'));
      const { spec } = head?.toJS() as { spec: { inputs: Record<string, unknown> } };
      return { local, inputs: Object.fromEntries(Object.entries(all).filter(([key]) => key in spec.inputs)) };
    });
    writeFileSync(
      join(folder, '.gitlab-ci.yml'),
      JSON.stringify({ stages: ['sign', 'attest', 'gate'], include }),
    );
    await commit(setup, folder, 'https://gitlab.example/team/app.git');
    const words = [
      join(import.meta.dirname, '../../node_modules/gitlab-ci-local/dist/index.js'),
      ...[
        '--force-shell-executor',
        '--shell-executor-no-image',
        '--variable',
        `SIGSTORE_ID_TOKEN=${setup.token()}`,
      ],
      ...['--variable', 'npm_config_offline=true'],
    ];
    const tools = `${dirname(rsync.path)}:${String(setup.environment(folder)['PATH'])}`;
    const ended = await setup.run(folder, process.execPath, words, { PATH: tools });
    return { ...resultOf(ended), ...admittedBy(join(folder, 'portcullis-reports/admitted')) };
  },
};

interface Task {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly params: readonly { readonly name: string; readonly default?: string }[];
    readonly results?: readonly { readonly name: string }[];
    readonly steps: readonly {
      readonly script: string;
      readonly env: readonly { name: string; value: string }[];
    }[];
  };
}
interface Pipeline {
  readonly spec: {
    readonly params: readonly { readonly name: string; readonly default?: string }[];
    readonly results: readonly { readonly value: string }[];
    readonly tasks: readonly {
      readonly name: string;
      readonly runAfter?: readonly string[];
      readonly taskRef: { readonly name: string };
      readonly params: readonly { readonly name: string; readonly value: string }[];
    }[];
  };
}

const yamlOf = (path: string): unknown => parseAllDocuments(readFileSync(path, 'utf8'))[0]?.toJS();

/** Replaces `$(params.NAME)` as Tekton does; throws if a name is not defined. */
export function substitute(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(/\$\(([\w.-]+)\)/gu, (_all, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`$(${name}) is not defined`);
    return value;
  });
}

/** Runs the steps of the tasks in the order of the pipeline, with their variables. */
const tekton: Platform = {
  name: 'Tekton',
  skip: false,
  async run(setup, folder, built) {
    const pipeline = yamlOf(join(files, 'tekton/pipeline.yaml')) as Pipeline;
    const given = { ...inputsOf(setup, built), 'identity-token-file': 'token' } as Record<string, string>;
    const values: Record<string, string> = { 'workspaces.source.path': folder };
    for (const { name, default: usual } of pipeline.spec.params)
      values[`params.${name}`] = given[name] ?? usual ?? raise(`the pipeline needs ${name}`);
    let output = '';
    for (const { name, taskRef, params } of pipeline.spec.tasks) {
      const task = yamlOf(join(files, `tekton/${taskRef.name.replace('portcullis-', '')}.yaml`)) as Task;
      const own: Record<string, string> = { 'workspaces.source.path': folder };
      const passed = Object.fromEntries(params.map((one) => [one.name, substitute(one.value, values)]));
      for (const { name: key, default: usual } of task.spec.params)
        // The cluster's administrator sets the package of a task.
        own[`params.${key}`] = key === 'package' ? setup.file : (passed[key] ?? usual ?? raise(`no ${key}`));
      for (const { name: key } of task.spec.results ?? [])
        own[`results.${key}.path`] = join(folder, `.result-${name}-${key}`);
      for (const { script, env } of task.spec.steps) {
        const more = Object.fromEntries(
          env.map((one) => [
            one.name,
            substitute(one.value, own).replace('/tekton', join(folder, '.tekton')),
          ]),
        );
        mkdirSync(join(folder, '.tekton/home'), { recursive: true });
        const ended = await setup.run(folder, 'sh', ['-c', substitute(script, own)], more);
        output += ended.output;
        if (ended.code !== 0) return { code: ended.code, output };
      }
      for (const { name: key } of task.spec.results ?? [])
        values[`tasks.${name}.results.${key}`] = readFileSync(
          join(folder, `.result-${name}-${key}`),
          'utf8',
        ).trim();
    }
    return { code: 0, output, admitted: substitute(pipeline.spec.results[0]?.value ?? '', values) };
  },
};

/** A pipeline that gives all options to each step of the shared library, and uses the result of the gate. */
export const jenkinsScript = `
import groovy.json.JsonSlurper
def options = new JsonSlurper().parseText(env.OPTIONS)
portcullisSetup(options)
portcullisSign(options)
portcullisAttest(options)
writeFile file: 'deployed', text: portcullisGate(options)
`;

/** Runs a script by the shared library in a folder, in the Groovy of Jenkins. */
export function runJenkins(
  setup: Pick<TestSetup, 'run'>,
  folder: string,
  script: string,
  options: Readonly<Record<string, string>>,
): Promise<Ended> {
  writeFileSync(join(folder, 'script.groovy'), script);
  const words = [join(import.meta.dirname, 'jenkins.groovy'), join(files, 'jenkins/vars'), 'script.groovy'];
  return setup.run(folder, groovy.path, words, { OPTIONS: JSON.stringify(options) });
}

/** The Groovy of Jenkins runs the shared library. */
const jenkins: Platform = {
  name: 'Jenkins',
  skip: groovy.skip,
  async run(setup, folder, built) {
    const {
      'signing-config': signingConfig = '',
      'verifier-id': verifierId = '',
      package: npmPackage = '',
      ...inputs
    } = inputsOf(setup, built);
    const options = { ...inputs, signingConfig, verifierId, npmPackage, identityTokenFile: 'token' };
    const ended = await runJenkins(setup, folder, jenkinsScript, options);
    return { ...resultOf(ended), ...admittedBy(join(folder, 'deployed')) };
  },
};

export const platforms: readonly Platform[] = [shell, github, gitlab, tekton, jenkins];

function raise(what: string): never {
  throw new Error(what);
}

const resultOf = ({ code, output }: Ended): Run => ({ code, output });

async function commit(setup: TestSetup, folder: string, remote?: string): Promise<void> {
  const git = async (...words: string[]): Promise<void> => {
    const as = ['-c', 'user.name=test', '-c', 'user.email=test@example.com', '-c', 'init.defaultBranch=main'];
    const ended = await setup.run(folder, 'git', [...as, ...words]);
    if (ended.code !== 0) throw new Error(ended.output);
  };
  writeFileSync(join(folder, '.gitignore'), '.home\n.cache\n.nothing\n');
  await git('init', '-q', '.');
  if (remote !== undefined) await git('remote', 'add', 'origin', remote);
  await git('add', '-A');
  await git('commit', '-qm', 'all');
}
