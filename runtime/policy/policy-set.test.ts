import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { isPortcullisError } from '../../base/errors/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { builtinProfile, writeExactProfile } from '../../entitlements/index.ts';
import { portcullis } from '../../test/fixtures/command.ts';
import { loadPolicySet } from './policy-set.ts';
import { openPolicy } from './policy-watch.ts';

const home = mkdtempSync(join(tmpdir(), 'pc-policy-set-'));
after(() => rmSync(home, { recursive: true, force: true }));

const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
  type: 'spki',
  format: 'pem',
});
const version = 'apiVersion: portcullis.dev/v1alpha1';
const policy = (ceiling = 'baseline', key = 'k.pub'): string =>
  `${version}\nkind: TrustPolicy\nrules:\n  - images: ["r.test/**"]\n    require: { cosign: { key: ${key} } }\n    entitlements: { ceiling: ${ceiling} }\n`;
const profile = (name: string, more = ''): string =>
  `${version}\nkind: EntitlementProfile\nmetadata: { name: ${name} }\n${more}`;
const exact = (name: string): string => {
  const value = builtinProfile('default');
  assert.ok(value !== undefined);
  return writeExactProfile(name, value);
};

type Content = string | ((path: string) => void);
type Folder = Readonly<Record<string, Content>>;

let count = 0;
function place(files: Folder): string {
  const folder = join(home, String((count += 1)), 'policy.d');
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    if (typeof content === 'string') writeFileSync(path, content);
    else content(path);
  }
  return folder;
}

const fifo = (path: string): void => void execFileSync('mkfifo', [path]);
const linkTo =
  (target: string) =>
  (path: string): void =>
    symlinkSync(target, path);
/** A link that leaves the folder, as a mounted ConfigMap has them. */
const outside =
  (text: string) =>
  (path: string): void => {
    writeFileSync(join(dirname(path), '../outside.yaml'), text);
    symlinkSync('../outside.yaml', path);
  };

interface Case {
  readonly files: Folder;
  /** The position and text of each problem that is to be reported; none if the folder is valid. */
  readonly problems: readonly RegExp[];
}
const key = { 'k.pub': pem };
const cases: Readonly<Record<string, Case>> = {
  'a policy alone': { files: { ...key, 'p.yaml': policy() }, problems: [] },
  'a policy and the profile that it names': {
    files: { ...key, 'p.yaml': policy('web'), 'w.yaml': profile('web') },
    problems: [],
  },
  'an ExactProfile as a ceiling': {
    files: { ...key, 'p.yaml': policy('web'), 'w.yaml': exact('web') },
    problems: [],
  },
  'a link that leaves the folder': { files: { ...key, 'p.yaml': outside(policy()) }, problems: [] },
  'a ceiling that no document defines': {
    files: { ...key, 'p.yaml': policy('weh'), 'w.yaml': profile('web') },
    problems: [
      /p\.yaml:6:30: rules\[0\]\.entitlements\.ceiling: the profile `weh` does not exist; did you mean `web`\?/,
    ],
  },
  'a ceiling with a parameter that has no value': {
    files: {
      ...key,
      'p.yaml': policy('web'),
      'w.yaml': profile('web', 'parameters: { port: { type: port } }\n'),
    },
    problems: [/p\.yaml:6:30: .*no value for `port`/],
  },
  'an invalid profile that is also the ceiling': {
    files: {
      ...key,
      'p.yaml': policy('web'),
      'w.yaml': profile('web', 'capabilities: { add: [NET_BIN] }\n'),
    },
    problems: [/w\.yaml:4:\d+: capabilities\.add\[0\]: there is no capability/],
  },
  'an invalid policy and an invalid profile': {
    files: { ...key, 'p.yaml': policy('baseline', 'gone.pub'), 'w.yaml': profile('web', 'files: 5\n') },
    problems: [/p\.yaml:5:\d+: .*gone\.pub/, /w\.yaml:4:8: files: must be a mapping/],
  },
  'two profiles with the same name': {
    files: { ...key, 'p.yaml': policy(), 'v.yaml': exact('web'), 'w.yaml': profile('web') },
    problems: [/v\.yaml:4:9: .*`web` is defined at/],
  },
  'a profile with the name of a built-in profile': {
    files: { ...key, 'p.yaml': policy(), 'w.yaml': profile('baseline') },
    problems: [/w\.yaml:3:\d+: .*built-in/],
  },
  'a misspelt kind': {
    files: { ...key, 'p.yaml': policy(), 'w.yaml': profile('web').replace('kind: Ent', 'kind: Enn') },
    problems: [
      /w\.yaml:1:1: .*`rules` is missing/,
      /w\.yaml:2:7: kind: .* did you mean `EntitlementProfile`\?/,
    ],
  },
  'a text that is not YAML': {
    files: { ...key, 'p.yaml': policy('web'), 'w.yaml': 'kind: [\n' },
    problems: [/w\.yaml:\d+:\d+: /],
  },
  'a named pipe': {
    files: { ...key, 'p.yaml': policy(), 'w.yaml': fifo },
    problems: [/w\.yaml: cannot be read: it is not a regular file/],
  },
  'a device': {
    files: { ...key, 'p.yaml': policy(), 'w.yaml': linkTo('/dev/zero') },
    problems: [/w\.yaml: .*not a regular file/],
  },
  'a folder where a file is expected': {
    files: { ...key, 'p.yaml': policy(), 'w.yaml': (path) => mkdirSync(path) },
    problems: [/w\.yaml: .*not a regular file/],
  },
  'a broken link': {
    files: { ...key, 'p.yaml': policy(), 'w.yaml': linkTo('nowhere') },
    problems: [/w\.yaml: .*it does not exist/],
  },
  'a file that is too large': {
    files: { ...key, 'p.yaml': policy(), 'w.yaml': `#${' '.repeat(1024 * 1024)}` },
    problems: [/w\.yaml: .*larger than/],
  },
  'a named pipe as the key': {
    files: { 'k.pub': fifo, 'p.yaml': policy() },
    problems: [/p\.yaml:5:\d+: .*not a regular file/],
  },
  'no file': { files: {}, problems: [/policy\.d: the folder contains no \.yaml/] },
  'profiles without a policy': {
    files: { 'w.yaml': profile('web') },
    problems: [/no document of kind TrustPolicy/],
  },
};

/** Whether the daemon puts the files in force. */
async function isInForce(folder: string): Promise<boolean> {
  const holder = await openPolicy({ paths: [folder] }, createLogger({ level: 'silent' }));
  try {
    return holder.current() !== undefined && holder.problem() === undefined;
  } finally {
    holder.close();
  }
}

/** Returns the problems as lines; none if the command says that the files are valid. */
async function check(folder: string): Promise<readonly string[]> {
  const { code, stderr } = await portcullis(['policy', 'check', folder]);
  // 2: a file cannot be read.
  assert.ok(code !== null && code <= 2, stderr);
  return code === 0 ? [] : stderr.split('\n').slice(1);
}

async function isValid(folder: string): Promise<boolean> {
  return loadPolicySet({ paths: [folder] }).then(
    () => true,
    (thrown: unknown) => {
      assert.ok(isPortcullisError(thrown) && thrown.code === 'TRUST_POLICY_INVALID', String(thrown));
      return false;
    },
  );
}

describe('policy check and the daemon', () => {
  for (const [name, { files, problems }] of Object.entries(cases))
    it(`agree about ${name}`, async () => {
      const folder = place(files);
      const lines = (await check(folder)).filter((line) => /\.(?:yaml|d)(?::\d+:\d+)?: /u.test(line));
      assert.equal(lines.length, problems.length, lines.join('\n'));
      for (const [index, pattern] of problems.entries()) assert.match(lines[index] ?? '', pattern);
      assert.equal(await isInForce(folder), problems.length === 0);
    });

  it('agree about folders with random contents', async () => {
    const names = fc.constantFrom('web', 'db', 'baseline', 'Web');
    const part = fc.oneof(
      fc
        .tuple(
          fc.constantFrom('web', 'db', 'baseline', 'restricted', 'gone'),
          fc.constantFrom('k.pub', 'k.pub', 'k.pub', 'gone.pub'),
        )
        .map(([ceiling, file]) => policy(ceiling, file)),
      names.map((name) => profile(name)),
      names.map((name) => exact(name)),
      fc.tuple(names, names).map(([name, parent]) => profile(name, `extends: [${parent}]\n`)),
      fc
        .tuple(
          names,
          fc.constantFrom(
            'files: 5\n',
            'parameters: { port: { type: port } }\n',
            'syscalls: { add: [nosuchcall] }\n',
            'filess: {}\n',
          ),
        )
        .map(([name, more]) => profile(name, more)),
      fc.constantFrom('', '# nothing\n', 'kind: [\n', 'null\n', `${version}\nkind: PolicyTest\n`, '{"a": 1}'),
    );
    const content = fc.oneof(
      {
        weight: 20,
        arbitrary: fc
          .array(part, { minLength: 1, maxLength: 2 })
          .map((parts): Content => parts.join('---\n')),
      },
      {
        weight: 1,
        arbitrary: fc.constantFrom<Content>(
          fifo,
          linkTo('nowhere'),
          linkTo('/dev/zero'),
          outside(policy()),
          outside(profile('web')),
        ),
      },
    );
    const file = fc.constantFrom('a.yaml', 'b.yml', 'c.json', '.d.yaml', 'e.txt', 'f/g.yaml');
    const folders = fc.tuple(
      fc.constantFrom<Folder>({ 'p.yaml': policy() }, { 'p.yaml': policy('web') }, {}),
      fc.dictionary(file, content, { maxKeys: 3 }),
    );
    const runs = 150 * Number(process.env['FUZZ_TIMES'] ?? 1);
    const seen = { valid: 0, broken: 0 };
    for (const [base, more] of fc.sample(folders, {
      numRuns: runs,
      seed: Number(process.env['FUZZ_SEED'] ?? 22),
    })) {
      const folder = place({ ...key, ...base, ...more });
      const valid = await isValid(folder);
      assert.equal(await isInForce(folder), valid, folder);
      seen[valid ? 'valid' : 'broken'] += 1;
      rmSync(dirname(folder), { recursive: true });
    }
    assert.ok(seen.valid > runs / 20 && seen.broken > runs / 20, JSON.stringify(seen));
  });

  it('resolve every ceiling of a policy that is in force', async () => {
    const { policy: loaded, profiles } = await loadPolicySet({
      paths: [place({ ...key, 'p.yaml': policy('web'), 'w.yaml': exact('web') })],
    });
    assert.deepEqual(
      loaded.rules.map(({ ceiling }) => profiles.resolve(ceiling.ceiling) !== undefined),
      [true],
    );
  });
});
