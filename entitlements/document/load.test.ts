import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { decide } from '../seccomp/decision.ts';
import { decisionFor } from '../seccomp/policy.ts';
import { builtinProfile } from '../profile/builtin.ts';
import { writeExactProfile } from './exact.ts';
import { loadProfiles } from './load.ts';
import type { Profile } from '../profile/model.ts';

const folder = mkdtempSync(join(tmpdir(), 'entitlement-profiles-'));
after(() => rmSync(folder, { recursive: true }));

const WEB = fileURLToPath(new URL('fixtures/web.yaml', import.meta.url));
const HEAD = 'apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\n';

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** Returns the profile `p` of a document with these additional lines. */
async function profileOf(lines: string): Promise<Profile> {
  const profile = (
    await loadProfiles({ paths: [file('one.yaml', `${HEAD}metadata: { name: p }\n${lines}`)] })
  ).resolve('p');
  assert.ok(profile);
  return profile;
}

/** Returns the problems as `line:column message`. */
async function problemsOf(text: string): Promise<string[]> {
  try {
    await loadProfiles({ paths: [file('bad.yaml', text)] });
  } catch (error) {
    assert.ok(isPortcullisError(error) && error.code === 'ENTITLEMENTS_BAD_PROFILE', String(error));
    const { problems } = error.failure.details as {
      problems: { position: { line: number; column: number }; message: string }[];
    };
    return problems.map(({ position, message }) => `${position.line}:${position.column} ${message}`);
  }
  return [];
}

function answer(profile: Profile, call: string, ...args: bigint[]): string {
  return profile.syscalls.filtered ? decide(decisionFor(profile.syscalls, call), args) : 'unfiltered';
}

describe('loading profiles', () => {
  it('refuses a file that is not UTF-8, because its paths would be others than its author wrote', async () => {
    const path = join(folder, 'latin1.yaml');
    writeFileSync(path, Buffer.from(`${HEAD}metadata: { name: p }\nnotes: é\n`, 'latin1'));
    await assert.rejects(loadProfiles({ paths: [path] }), {
      code: 'ENTITLEMENTS_BAD_PROFILE',
      message: /latin1\.yaml:1:1: the file is not UTF-8; save it as UTF-8/u,
    });
  });

  it('has the built-in ones without any file', async () => {
    const profiles = await loadProfiles({ paths: [] });
    assert.deepEqual(profiles.names(), ['default', 'privileged', 'baseline', 'restricted']);
    assert.equal(profiles.resolve('nope'), undefined);
  });

  it('reads the web profile of the quickstart', async () => {
    const web = (await loadProfiles({ paths: [WEB] })).resolve('web');
    assert.ok(web);
    assert.deepEqual(
      [web.capabilities, web.network, web.noNewPrivileges, web.limits.MEMLOCK],
      [[], 'user', true, { soft: 65536n, hard: 65536n }],
    );
    for (const call of ['unshare', 'mount', 'keyctl', 'ptrace', 'personality', 'chroot'])
      assert.equal(answer(web, call), 'errno 1', call);
    for (const call of ['execve', 'accept4', 'listen', 'chown', 'arch_prctl'])
      assert.equal(answer(web, call), 'allow', call);
  });

  it('skips documents of other kinds, in folders too', async () => {
    file(
      'a-policy.yaml',
      'kind: TrustPolicy\nnonsense: [true]\n---\n' + HEAD + 'metadata: { name: second }\n',
    );
    const profiles = await loadProfiles({ paths: [join(folder, 'a-policy.yaml'), WEB] });
    assert.deepEqual(profiles.names().slice(4), ['second', 'web']);
  });

  it('says of a file that is too large how to make it smaller', async () => {
    const path = file('large.yaml', `#${' '.repeat(1024 * 1024)}`);
    await assert.rejects(loadProfiles({ paths: [path] }), {
      code: 'ENTITLEMENTS_BAD_PROFILE',
      message: /large\.yaml:1:1: it is larger than 1048576 bytes; split it into several files of one folder/,
    });
  });

  it('reports a document that was meant as a profile, but has another kind or none', async () => {
    const head = 'apiVersion: portcullis.dev/v1alpha1\n';
    for (const [kind, near] of [
      ['EntitlementsProfile', 'EntitlementProfile'],
      ['exactprofile', 'ExactProfile'],
      ['Profile', 'EntitlementProfile'],
    ] as const) {
      const path = file('misspelt.yaml', `${head}kind: ${kind}\nmetadata: { name: p }\n`);
      await assert.rejects(loadProfiles({ paths: [path] }), {
        code: 'ENTITLEMENTS_BAD_PROFILE',
        message: new RegExp(`:2:7: kind: "${kind}" is not known here; did you mean \`${near}\`\\?`),
      });
    }
    assert.deepEqual(await problemsOf(`${head}metadata: { name: p }\nentitlements: []\n`), [
      '1:1 the field `kind` is missing',
    ]);
    for (const other of [`${head}kind: NodeGroup\n`, 'apiVersion: v1\nkind: SeccompProfile\n'])
      assert.deepEqual(await problemsOf(other), []);
  });

  it('changes capabilities and system calls after the entitlements', async () => {
    const profile = await profileOf(
      'entitlements: [network.user]\ncapabilities: { add: [CAP_NET_BIND_SERVICE, sys_ptrace], drop: [MKNOD] }\nsyscalls: { add: [io_uring_setup], drop: [chmod] }\n',
    );
    assert.ok(
      profile.capabilities.includes('NET_BIND_SERVICE') &&
        !profile.capabilities.includes('MKNOD') &&
        !profile.capabilities.includes('NET_RAW'),
    );
    assert.deepEqual(
      ['io_uring_setup', 'chmod', 'kcmp', 'mount'].map((call) => answer(profile, call)),
      ['allow', 'errno 1', 'allow', 'errno 1'],
    );
    assert.deepEqual((await profileOf('capabilities: { drop: [ALL], add: [KILL] }\n')).capabilities, [
      'KILL',
    ]);
  });

  it('reads limits', async () => {
    const { limits } = await profileOf('resources: { memlock: 2Mi, nofile: 1024, core: 0 }\n');
    assert.deepEqual(limits, {
      MEMLOCK: { soft: 2097152n, hard: 2097152n },
      NOFILE: { soft: 1024n, hard: 1024n },
      CORE: { soft: 0n, hard: 0n },
    });
  });

  it('reports every problem at its position', async () => {
    const text = `${HEAD}metadata: { name: default }
entitlements: [network.none, network.admin, api.access=engine:all:allow, resources.pids=many]
files: { read: [app/**] }
network: { egress: [{ to: 10.0.0.1/8 }] }
capabilities:
  add: [BOGUS, ALL, KILL]
  drop: [KILL]
syscalls:
  add: [frobnicate]
`;
    const problems = await problemsOf(text);
    const expected = [
      /^3:19 `default` is a built-in profile/,
      /^4:30 network\.admin conflicts with network\.none on the network class/,
      /^4:45 api\.access=engine:all:allow: access to all of engine cannot be granted/,
      /^4:74 resources\.pids=many: "many" is not a count/,
      /^5:17 a path pattern begins with \//,
      /^6:27 10\.0\.0\.1\/8 has bits set beyond its first 8/,
      /^8:9 there is no capability `BOGUS`/,
      /^8:16 ALL can only be dropped/,
      /^9:10 `KILL` is under add as well/,
      /^11:9 there is no system call `frobnicate`/,
    ];
    assert.equal(problems.length, expected.length, problems.join('\n'));
    expected.forEach((pattern, at) => assert.match(problems[at] ?? '', pattern));
  });

  it('refuses masked and read-only paths that no runtime can restrict', async () => {
    const text = `${HEAD}metadata: { name: p }\npaths: { masked: [/, /proc/*], readonly: [/, /proc/] }\n`;
    const problems = await problemsOf(text);
    assert.deepEqual(problems, [
      '4:19 `/` cannot be masked or read-only',
      '4:22 `/proc/*` is not a plain absolute path',
      '4:43 `/` cannot be masked or read-only',
      '4:46 `/proc/` is not a plain absolute path',
    ]);
  });

  it('refuses bounds of 0, which a runtime takes for no limit', async () => {
    const text = `${HEAD}metadata: { name: p }\nentitlements: [resources.pids=0]\nresources: { memory: 0, swap: 0, core: 0 }\n`;
    assert.deepEqual(await problemsOf(text), [
      '4:16 resources.pids=0: no process can run with "0"; write 1 or more',
      '5:22 no process can run with 0',
    ]);
    const resources = { cpu: 0n, memory: 0n, pids: 0n, swap: 0n };
    const problems = await problemsOf(writeExactProfile('q', { ...(await profileOf('')), resources }));
    assert.deepEqual(
      problems.map((line) => line.replace(/^\d+:\d+ /, '')),
      Array(3).fill('no process can run with 0'),
    );
  });

  it('refuses limits of more than 64 bits in exact profiles', async () => {
    const most = (1n << 64n) - 1n;
    const problemsAt = async (hard: bigint): Promise<string[]> => {
      const limits = { NOFILE: { soft: 1n, hard } };
      return await problemsOf(writeExactProfile('q', { ...(await profileOf('')), limits }));
    };
    assert.deepEqual(await problemsAt(most), []);
    assert.match((await problemsAt(most + 1n)).join(), /a limit has 64 bits$/);
  });

  it('refuses in exact profiles what other profiles cannot say', async () => {
    const whole = await profileOf('');
    const paths = { masked: ['/', '/a/*', '/a//b'], readonly: ['/', '/a/'] };
    const mounts = [
      { fstype: 'ext4) -> /,\n change_profile,\n mount fstype=(x', target: '/m', readonly: false },
    ];
    const problems = await problemsOf(writeExactProfile('q', { ...whole, paths, mounts }));
    assert.deepEqual(
      problems.map((line) => line.replace(/^\d+:\d+ /, '')),
      [
        '`/` cannot be masked or read-only',
        '`/a/*` is not a plain absolute path',
        '`/a//b` is not a plain absolute path',
        '`/` cannot be masked or read-only',
        '`/a/` is not a plain absolute path',
        `\`${mounts[0]?.fstype.slice(0, 80)}\` is not a file system type`,
      ],
    );
  });

  it('refuses unknown fields and names, with the nearest known one', async () => {
    const problems = await problemsOf(
      `${HEAD}metadata: { name: Bad_Name }\nentitlement: [network.user]\nentitlements: [network.usr]\n`,
    );
    assert.equal(problems.length, 3, problems.join('\n'));
    assert.match(problems.join('\n'), /unknown field `entitlement`/);
    assert.match(problems.join('\n'), /network\.usr/);
  });

  it('reports what the schema finds and what lies deeper in one run', async () => {
    const problems = await problemsOf(`${HEAD}metadata: { name: p }
filess: {}
files: { read: [app/**, 5] }
capabilities:
  add: [BOGUS]
  drop: 7
syscalls:
  add: [{}, frobnicate]
---
${HEAD}metadata: { name: child }
extends: [p]
capabilities: { add: [BOGUS] }
`);
    const lines = problems.map((problem) => problem.split(' ')[0]);
    assert.deepEqual(
      lines,
      ['4:1', '5:17', '5:25', '7:9', '8:9', '10:9', '10:13', '16:23'],
      problems.join('\n'),
    );
  });

  it('says how ports are written instead of a number', async () => {
    const text = `${HEAD}metadata: { name: p }\nnetwork: { ingress: [{ ports: [8080] }] }\n`;
    await assert.rejects(
      loadProfiles({ paths: [file('bad.yaml', text)] }),
      /must be a text, is 8080; write it as in "8080\/tcp" or "8000-8080\/tcp" or "icmp"/,
    );
  });

  it('does not report a parent as missing if its document is broken', async () => {
    const child = `${HEAD}metadata: { name: child }\nextends: [parent]\n`;
    const broken = await problemsOf(`${HEAD}metadata: { name: parent }\nparameters: 5\n---\n${child}`);
    assert.equal(broken.length, 1, broken.join('\n'));
    assert.match(broken[0] ?? '', /^4:13 must be a mapping/);
    assert.equal(
      (await problemsOf(`kind: [\n---\n${child}`)).filter((line) => line.includes('no profile')).length,
      0,
    );
    assert.match((await problemsOf(child)).join('\n'), /there is no profile `parent`/);
  });

  it('refuses an ExactProfile as a parent', async () => {
    const value = builtinProfile('default');
    assert.ok(value !== undefined);
    const text = `${writeExactProfile('whole', value)}---\n${HEAD}metadata: { name: child }\nextends: [whole]\n`;
    assert.match((await problemsOf(text)).join('\n'), /there is no profile `whole`/);
  });

  it('refuses a name that is taken', async () => {
    const one = `${HEAD}metadata: { name: twice }\n`;
    assert.match(
      (await problemsOf(`${one}---\n${one}`)).join('\n'),
      /^7:19 the profile `twice` is defined at .*bad\.yaml:3 already/,
    );
  });

  it('says which file cannot be read', async () => {
    await assert.rejects(loadProfiles({ paths: [join(folder, 'absent.yaml')] }), {
      code: 'ENTITLEMENTS_BAD_PROFILE',
      message: /absent\.yaml: cannot be read: it does not exist/,
    });
    await assert.rejects(loadProfiles({ paths: ['/dev/null'] }), {
      code: 'ENTITLEMENTS_BAD_PROFILE',
      message: /not a regular file/,
    });
  });
});
