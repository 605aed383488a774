import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createRegistryClient } from '../base/distribution/index.ts';
import type { GateResult } from '../trust/gate/index.ts';
import { openRegistries, signReference } from '../trust/index.ts';
import { findRegistry, startRegistry } from '../test/fixtures/registry.ts';
import type { TestRegistry } from '../test/fixtures/registry.ts';
import { makeKey } from '../test/fixtures/stage.ts';
import { commandFile, compileCache } from '../test/fixtures/command.ts';

const skip = findRegistry() === undefined ? 'no docker-registry' : false;
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
let registry: TestRegistry;
let folder = '';
let signed = '';
let unsigned = '';

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function admit(args: readonly string[], input = ''): Ran {
  return spawnSync(process.execPath, [commandFile, 'admit', ...args], {
    cwd: folder,
    env: { ...compileCache, PATH: process.env['PATH'], HOME: folder, COSIGN_PASSWORD: 'words' },
    encoding: 'utf8',
    input,
  });
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cli-admit-'));
  if (skip !== false) return;
  registry = await startRegistry();
  const client = createRegistryClient({ tagSettleMs: 0 });
  for (const name of ['signed', 'unsigned']) {
    const [repository] = client.repositories({ registry: registry.host, repository: name });
    assert.ok(repository);
    const config = await repository.pushBlob(
      Buffer.from(`{"architecture":"amd64","os":"linux","author":"${name}"}`),
    );
    const manifest = {
      ...{ schemaVersion: 2, mediaType: manifestType, layers: [] },
      config: { ...config, mediaType: 'application/vnd.oci.image.config.v1+json' },
    };
    await repository.pushManifest(Buffer.from(JSON.stringify(manifest)), manifestType, { tag: '1' });
  }
  await client.close();
  signed = `${registry.host}/signed:1`;
  unsigned = `${registry.host}/unsigned:1`;
  const key = await makeKey(join(folder, 'k.key'), join(folder, 'k.pub'));
  const access = await openRegistries({ mirrors: [], insecureHosts: [], environment: {} });
  await signReference({
    ...{ reference: signed, key, format: 'bundle', recursive: false, registry: access, now: new Date() },
  });
  await access.close();
  await writeFile(
    join(folder, 'policy.yaml'),
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["127.0.0.1:*/**"]\n    require: { cosign: { key: k.pub } }\n`,
  );
});
after(async () => {
  if (skip === false) await registry.close();
  await rm(folder, { recursive: true });
});

const policy = ['--policy', 'policy.yaml'];

test(
  'the exit code reports whether all images are admitted, and a denied image takes precedence over an undecided image',
  { skip },
  () => {
    const down = '127.0.0.1:9/down:1';
    const gone = signed.replace('/signed', '/gone');
    for (const [images, status, says] of [
      [[signed], 0, /^1 image: 1 admitted$/m],
      [[down, unsigned], 1, /^2 images: 0 admitted, 1 denied, 1 undecided$/m],
      [[signed, down, gone], 3, /^3 images: 1 admitted, 1 undecided, 1 failed$/m],
      [[gone], 4, /DISTRIBUTION_|could not be checked: /],
    ] as const) {
      const ran = admit([...images, ...policy]);
      assert.equal(ran.status, status, ran.stdout + ran.stderr);
      assert.match(ran.stdout, says);
    }
    const tree = admit([unsigned, ...policy]).stdout;
    assert.match(tree, /^- .*unsigned:1 .* is denied$/m);
    assert.match(tree, / {4}- a cosign signature by the key k\.pub .*: no signature was found/);
    assert.match(tree, /^ {2}to do: sign the image/m);
    assert.equal(admit([signed, '--key', 'k.pub']).status, 0);
  },
);

test(
  'reports in each format name the lines of the manifest, also when an image is denied',
  { skip },
  async () => {
    await writeFile(
      join(folder, 'pod.yaml'),
      `kind: Pod\nmetadata: { name: p }\nspec:\n  containers:\n    - { name: a, image: "${signed}" }\n    - { name: b, image: "${unsigned}" }\n`,
    );
    await mkdir(join(folder, 'kept'));
    await writeFile(join(folder, 'kept/old.xml'), 'old');
    await symlink('kept/old.xml', join(folder, 'link.xml'));
    const ran = admit([
      ...['--images-from', 'pod.yaml', ...policy, '--report', 'sarif=new/folder/gate.sarif'],
      ...['--report', 'junit=link.xml', '--report', 'markdown=-', '--report', 'json=gate.json'],
    ]);
    assert.equal(ran.status, 1, ran.stderr);
    assert.match(ran.stdout, /^## Portcullis: not every image passes/);
    assert.match(ran.stderr, /2 images: 1 admitted, 1 denied/);
    const sarif = await readFile(join(folder, 'new/folder/gate.sarif'), 'utf8');
    assert.match(sarif, /"uri": "pod\.yaml",[^}]*\},\s*"region": \{\s*"startLine": 6,/);
    assert.match(await readFile(join(folder, 'kept/old.xml'), 'utf8'), /<failure /);
    const json = JSON.parse(await readFile(join(folder, 'gate.json'), 'utf8')) as GateResult;
    assert.equal(json.counts.denied, 1);
    assert.deepEqual(await readdir(join(folder, 'kept')), ['old.xml']);
  },
);

test(
  'admitted images get a verification summary, and a policy that requires only a summary accepts the images',
  { skip },
  async () => {
    await makeKey(join(folder, 'gate.key'), join(folder, 'gate.pub'));
    const verifier = 'https://ci.example.com/gate';
    const vsa = ['--vsa', '--key', 'gate.key', '--verifier-id', verifier];
    const ran = admit([signed, unsigned, ...policy, ...vsa, '--vsa-dir', 'summaries']);
    assert.equal(ran.status, 1, ran.stderr);
    assert.match(
      ran.stdout,
      /^ {2}verification summary signed, attached as sha256:[0-9a-f]+, and written to summaries\/sha256-/m,
    );
    assert.equal((await readdir(join(folder, 'summaries'))).length, 1);
    await writeFile(
      join(folder, 'node.yaml'),
      `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["127.0.0.1:*/**"]\n    require: { vsa: { verifier: "${verifier}", by: { cosign: { key: gate.pub } }, maxAge: 1h } }\n`,
    );
    const node = admit([signed, unsigned, '--policy', 'node.yaml', '--output', 'json']);
    const { images } = JSON.parse(node.stdout) as GateResult;
    assert.deepEqual(
      images.map(({ decision }) => decision),
      ['admitted', 'denied'],
    );
  },
);

test(
  'a waived image passes and is shown as waived; an expired waiver does not apply; no summary is signed',
  { skip },
  async () => {
    const waivers = (expires: string): Promise<void> =>
      writeFile(
        join(folder, 'waivers.yaml'),
        `apiVersion: portcullis.dev/v1alpha1\nkind: Waivers\nwaivers:\n  - id: SEC-7\n    images: ["127.0.0.1:*/unsigned"]\n    codes: [TRUST_REQUIREMENT_UNMET]\n    owner: shop@example.com\n    reason: signed next week\n    created: ${day(-30)}\n    expires: ${expires}\n`,
      );
    const day = (days: number): string => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
    const ask = [
      '--waivers',
      'waivers.yaml',
      '--vsa',
      '--key',
      'k.key',
      '--verifier-id',
      'https://x.example',
      '--no-vsa-push',
    ];
    await waivers(day(30));
    const passed = admit([
      unsigned,
      ...policy,
      ...ask,
      '--vsa-dir',
      'waived',
      '--report',
      'junit=waived.xml',
    ]);
    assert.equal(passed.status, 0, passed.stdout + passed.stderr);
    assert.match(
      passed.stdout,
      /WAIVED: Waived by shop@example\.com until .* \(SEC-7, TRUST_REQUIREMENT_UNMET\): signed next week/,
    );
    assert.match(passed.stdout, /^1 image: 0 admitted, 1 waived$/m);
    assert.match(
      await readFile(join(folder, 'waived.xml'), 'utf8'),
      /<skipped message="[^"]*Waived by shop@example\.com/,
    );
    await assert.rejects(readdir(join(folder, 'waived')), /ENOENT/);
    assert.match(
      admit([signed, ...policy, '--waivers', 'waivers.yaml']).stdout,
      /warning: waiver SEC-7 of shop@example\.com .* let no image of this run pass/,
    );
    await waivers(day(-1));
    const expired = admit([unsigned, ...policy, '--waivers', 'waivers.yaml']);
    assert.equal(expired.status, 1);
    assert.match(
      expired.stdout,
      /warning: waiver SEC-7 of shop@example\.com \(waivers\.yaml:4\) expired at .* and does not apply/,
    );
  },
);

test('two reports that lead to one file by a symbolic link are refused', { skip }, async () => {
  await mkdir(join(folder, 'reports'));
  await symlink('reports', join(folder, 'same'));
  const twice = ['--report', 'json=reports/gate', '--report', 'sarif=same/gate'];
  const { status, stderr } = admit([signed, ...policy, ...twice]);
  assert.equal(status, 2, stderr);
  assert.match(stderr, /another report of this run has the same file.*CLI_REPORT_UNWRITABLE/);
  assert.deepEqual(await readdir(join(folder, 'reports')), []);
});

test('a report that cannot be written does not hide that an image is undecided', { skip }, async () => {
  // The name is valid, and the name of a temporary file beside it is too long.
  const report = ['--report', `json=${'r'.repeat(250)}`];
  const down = admit(['127.0.0.1:9/down:1', ...policy, ...report]);
  assert.match(down.stderr, /its name is too long/);
  assert.equal(down.status, 3, down.stderr);
  assert.equal(admit([signed, ...policy, ...report]).status, 4);
});

test('images are read from standard input, and JSON output contains the whole result', { skip }, () => {
  const ran = admit(
    ['--images-from', '-', ...policy, '--output', 'json'],
    `${signed}\n${unsigned} # not yet\n`,
  );
  assert.equal(ran.status, 1, ran.stderr);
  const result = JSON.parse(ran.stdout) as GateResult;
  assert.deepEqual(result.counts, { admitted: 1, waived: 0, denied: 1, undecided: 0, failed: 0 });
  assert.equal(result.images[1]?.places[0]?.line, 2);
});

test('wrong use and wrong input exit with 2 and say what to do', async () => {
  await writeFile(join(folder, 'bad.txt'), 'one.example/a:1\nBAD/\n');
  await mkdir(join(folder, 'a-folder'));
  for (const [args, says] of [
    [[...policy], /name an image, or --images-from/],
    [['a:1', ...policy, '--vsa', '--key', 'k.key'], /--verifier-id URI/],
    [['a:1', ...policy, '--report', 'xml=a'], /json, sarif, junit, markdown/],
    [['a:1', ...policy, '--report', 'json=-', '--output', 'json'], /contain only one result/],
    [['a:1', ...policy, '--platform', 'all', '--platform', 'linux/arm64'], /cannot be combined/],
    [['--images-from', 'bad.txt', ...policy], skip === false ? /bad\.txt:2:1/ : /./],
    [['a:1', ...policy, '--report', 'json=a-folder'], skip === false ? /it is not a regular file/ : /./],
  ] as const) {
    const { status, stderr } = admit(args);
    assert.equal(status, 2, `${args.join(' ')}\n${stderr}`);
    assert.match(stderr, says);
  }
});

test(
  'an object that a manifest refers to by name is reported as not checked, with exit code 4 unless the caller allows it',
  { skip },
  () => {
    const pod = `kind: Pod\nmetadata: { name: p }\nspec: { containers: [{ name: a, image: "${signed}" }] }\n`;
    const run = `apiVersion: tekton.dev/v1\nkind: TaskRun\nmetadata: { name: r }\nspec: { taskRef: { name: build } }\n`;
    const from = ['--images-from', '-', ...policy];
    const strict = admit(from, `${pod}---\n${run}`);
    assert.equal(strict.status, 4, strict.stderr);
    assert.match(
      strict.stdout,
      /^not read: TaskRun r, taskRef .*: the images of the Task build are not checked/m,
    );
    assert.match(strict.stdout, /^1 image: 1 admitted, and 1 part of manifests not read$/m);
    const allowed = admit([...from, '--allow-unread'], `${pod}---\n${run}`);
    assert.equal(allowed.status, 0, allowed.stderr);
    assert.match(allowed.stdout, /^warning: not read: /m);
    const task = `apiVersion: tekton.dev/v1\nkind: Task\nmetadata: { name: build }\nspec: { steps: [{ image: "${unsigned}" }] }\n`;
    assert.equal(admit(from, `${pod}---\n${run}---\n${task}`).status, 1);
  },
);
