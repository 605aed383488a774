import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Ajv } from 'ajv';
import { commandFile } from '../../test/fixtures/command.ts';

const root = join(import.meta.dirname, '../..');
const fixtures = join(root, 'entitlements/import/fixtures');
const docker = join(fixtures, 'docker-default.json');
const crio = join(fixtures, 'crio-default.json');

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/**
 * Returns OASIS's schema of SARIF 2.1.0 (errata 01). It is draft 4, which differs from what ajv accepts only
 * in `id`.
 */
function sarifSchema(): object {
  const schema = JSON.parse(
    readFileSync(join(import.meta.dirname, 'fixtures/sarif-schema-2.1.0.json'), 'utf8'),
  ) as Record<string, unknown>;
  const { id: _id, $schema: _draft, ...rest } = schema;
  return rest;
}

describe('portcullis entitlements', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-entitlements-'));
    copyFileSync(join(root, 'entitlements/document/fixtures/web.yaml'), join(folder, 'web.yaml'));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  function run(...args: string[]): Promise<Ran> {
    return new Promise((resolve) => {
      execFile(
        process.execPath,
        [commandFile, 'entitlements', ...args],
        { cwd: folder, timeout: 60_000 },
        (error, out, err) => {
          resolve({ code: error === null ? 0 : Number(error.code ?? 255), out, err });
        },
      );
    });
  }

  it('explain --which: refuses what is no capability, and shows no grammar of questions for it', async () => {
    const { code, err } = await run('explain', 'default', '--which', 'mount');
    assert.match(err, /^error: option '--which <capability>' argument 'mount' is invalid\. .*CAP_NET_ADMIN/u);
    assert.doesNotMatch(err, /CAP_mount|ask one of/u);
    assert.equal(code, 2);
    assert.match((await run('explain', 'default', '--which', 'net_raw')).out, /NET_RAW/u);
  });

  it('every profile: refuses an unknown capability and a malformed kernel version of the container', async () => {
    for (const [option, value] of [
      ['--capabilities', 'SYS_ADMN'],
      ['--kernel', 'new'],
    ] as const) {
      const { code, err } = await run('compare', 'default', 'baseline', option, value);
      assert.match(err, new RegExp(`^error: option '${option} <.*argument '${value}' is invalid`, 'u'));
      assert.equal(code, 2);
    }
    const { code, err } = await run(
      'compare',
      'default',
      'default',
      '--capabilities',
      'SYS_ADMIN',
      'cap_kill',
    );
    assert.equal(code, 0, err);
  });

  it('check and fmt: read - from standard input', () => {
    const piped = (input: string, ...args: string[]) =>
      spawnSync(process.execPath, [commandFile, 'entitlements', ...args], { input, encoding: 'utf8' });
    const text = readFileSync(join(folder, 'web.yaml'), 'utf8');
    const valid = piped(text, 'check', '-');
    assert.match(valid.stdout, /^valid: .*web/mu, valid.stderr);
    assert.match(piped(text.replace('network.user', 'network.usr'), 'check', '-').stdout, /^-:\d+:\d+: /mu);
    const { stdout, stderr } = piped(text, 'fmt', '-');
    assert.match(stdout, /^kind: EntitlementProfile$/mu, stderr);
    assert.equal(piped(stdout, 'fmt', '-').stdout, stdout);
  });

  it('show and explain: the error for an unknown name suggests the name that was probably meant', async () => {
    const [shown, explained] = [await run('show', 'netwrok.proxy'), await run('explain', 'basline')];
    assert.match(shown.err, /did you mean network\.proxy\?/);
    assert.match(explained.err, /did you mean baseline\?/);
    assert.deepEqual([shown.code, explained.code], [2, 2]);
  });

  it('list and show: an entitlement with an argument has its name, and shows how to write the argument', async () => {
    const { out } = await run('list');
    for (const name of [
      'network.egress=10.0.0.0/8:5432/tcp',
      'resources.cpu=500m',
      'host.device=c 10:232 rw',
    ])
      assert.ok(out.includes(`\n${name} `), out);
    const shown = await run('show', 'resources.cpu');
    assert.match(shown.out, /^resources\.cpu=CPUS\n/);
    assert.match(shown.out, /^example {3}resources\.cpu=500m$/m);
  });

  it('compare: same, different with a witness, within', async () => {
    assert.deepEqual(await run('compare', docker, docker), {
      code: 0,
      out: 'the first and the second grant the same\n',
      err: '',
    });
    const different = await run('compare', crio, docker);
    assert.equal(different.code, 1);
    assert.match(
      different.out,
      /keyctl\(\) is allowed by .*crio-default\.json, not by .*docker-default\.json/,
    );
    assert.equal((await run('compare', '--within', 'restricted', 'baseline')).code, 0);
    assert.equal((await run('compare', '--within', 'baseline', 'restricted')).code, 1);
  });

  it('merge: the meet of a profile with itself is the same profile, and can be used like any other profile', async () => {
    const { code, out } = await run('merge', '--meet', docker, docker, '--name', 'both');
    assert.equal(code, 0);
    writeFileSync(join(folder, 'both.yaml'), out);
    assert.equal((await run('compare', 'both.yaml', docker)).code, 0);
    assert.equal((await run('check', 'both.yaml')).code, 0);
    assert.equal((await run('merge', docker, docker)).code, 2);
  });

  it('explain: names what decides an answer, and sets the exit code', async () => {
    const denied = await run('explain', 'web.yaml', '--can', 'socket(AF_ALG)', '--why', 'ptrace');
    assert.equal(denied.code, 1);
    assert.match(denied.out, /no program under this profile can call socket\(AF_ALG\)/);
    assert.match(denied.out, /decided by web\.yaml:\d+:\d+: syscalls\.drop\[\d\]: ptrace/);
    assert.equal((await run('explain', 'web.yaml', '--can', 'openat2')).code, 0);
    const attack = await run('explain', docker, '--cve', 'CVE-2022-0185', '--output', 'json');
    assert.equal(attack.code, 0);
    assert.equal(
      (JSON.parse(attack.out) as { attacks: { verdict: string }[] }).attacks[0]?.verdict,
      'out of reach',
    );
    assert.match((await run('explain', 'default')).out, /^system calls +\d+ allowed/m);
  });

  it('explain: names the exception that decides, and constants, errnos and units instead of numbers', async () => {
    writeFileSync(
      join(folder, 'except.yaml'),
      `apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: except }
network:
  egress: [{ to: 10.0.0.0/8, except: [10.8.0.0/16, 10.9.0.0/16], ports: [5432/tcp] }]
syscalls: { drop: [{ ioctl: { arg1: [TIOCSTI] } }, { socket: { arg0: { not: [AF_UNIX, AF_INET] } } }] }
resources: { memory: 512Mi, nofile: 4096 }
`,
    );
    const denied = await run('explain', 'except.yaml', '--can', 'connect tcp 10.9.0.1:5432');
    assert.equal(denied.code, 1, denied.out);
    assert.match(
      denied.out,
      /decided by except\.yaml:5:\d+: network\.egress\[0\]\.except\[1\]: 10\.9\.0\.0\/16\n/,
    );
    const stated = await run('explain', 'except.yaml', '--why', 'ioctl', '--can', 'socket(AF_UNIX)');
    assert.match(
      stated.out,
      /ioctl: allow if arg1 up to \w+ \(0x5411\)\n.*ioctl: allow if arg1 from TIOCGWINSZ \(0x5413\)\n {2}ioctl: else EPERM\n/,
    );
    assert.match(stated.out, /decided by .*syscalls\.drop\[1\]\.socket\.arg0\.not\[0\]: AF_UNIX\n/);
    const whole = await run('explain', 'except.yaml');
    assert.match(whole.out, /^limits +NOFILE 4096 open files\nresources +memory 512 MiB$/m);
    assert.match(whole.out, /clone: allow if arg0 has none of CLONE_NEWNS, .*CLONE_NEWUSER/);
    assert.ok(!/errno \d/.test(whole.out + denied.out + stated.out));
  });

  it('compare and check write SARIF that is valid by its schema', async () => {
    const validate = new Ajv({ strict: false, validateFormats: false }).compile(sarifSchema());
    writeFileSync(
      join(folder, 'bad.yaml'),
      'apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: bad }\nentitlements: [network.usr]\n',
    );
    for (const args of [
      ['compare', docker, 'default'],
      ['check', 'bad.yaml', 'web.yaml', docker],
      ['check', 'web.yaml'],
    ]) {
      const { out } = await run(...args, '--output', 'sarif');
      assert.ok(validate(JSON.parse(out)), JSON.stringify(validate.errors?.slice(0, 3)));
    }
  });

  it('init writes a profile that is valid and in canonical form', async () => {
    assert.equal((await run('init', 'new.yaml')).code, 0);
    assert.equal((await run('init', 'new.yaml')).code, 2);
    assert.equal((await run('check', 'new.yaml')).code, 0);
    assert.equal((await run('fmt', '--check', 'new.yaml')).code, 0);
  });

  it('wrong use and wrong input: the exit code is 2 or 1, the error has a position, and nothing is written', async () => {
    writeFileSync(
      join(folder, 'broken.json'),
      '{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "names": 3 }] }',
    );
    writeFileSync(join(folder, 'policy.yaml'), 'kind: TrustPolicy\n');
    const seen = readdirSync(folder).sort();
    const cases: (readonly [string[], number, RegExp])[] = [
      [['compare', 'default', 'nowhere.yaml'], 2, /nowhere\.yaml/],
      [['compare', 'broken.json', 'default'], 2, /syscalls\[0\]\.names/],
      [['import', 'broken.json', '--out', 'x.yaml'], 2, /broken\.json: syscalls\[0\]\.names/],
      [['explain', 'default', '--can', 'socket(AF_NOPE)'], 2, /column 8/],
      [['explain', 'default', '--cve', 'CVE-1'], 2, /no such entry/],
      [['export', '--to', 'nothing', 'default'], 2, /--to/],
      [['export', '--to', 'spo-seccomp', 'default', '--name', '../x', '--out', '.'], 2, /--name.*lower-case/],
      [['import', '/nowhere', '--name', 'A b'], 2, /--name.*lower-case/],
      [['merge', '--meet', 'default', 'baseline', '--name', '-'], 2, /--name.*lower-case/],
      [['prove', 'web'], 2, /takes no argument: name a container by --container web/],
      [['show', 'nothing.at.all'], 2, /nothing\.at\.all/],
      [['merge', '--meet', 'default', 'broken.json'], 2, /syscalls/],
      [['check', 'nowhere.yaml'], 2, /nowhere\.yaml/],
      [['check', 'nowhere.yaml', 'web.yaml'], 2, /nowhere\.yaml/],
      [['check', 'policy.yaml'], 2, /policy\.yaml: it contains no entitlement profile/],
    ];
    for (const [args, code, what] of cases) {
      const ran = await run(...args);
      assert.equal(ran.code, code, `${args.join(' ')}: ${ran.err}`);
      assert.match(ran.err + ran.out, what);
    }
    assert.deepEqual(readdirSync(folder).sort(), seen);
  });
});
