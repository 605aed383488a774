import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { loadDaemonConfig } from '../../runtime/index.ts';
import { packageRoot } from '../environment/package-root.ts';
import type { Finding } from './finding.ts';
import { bridgedFinding, cgroupFinding, withoutAppArmor } from './kernel.ts';
import { distributionFinding } from './machine.ts';
import { nodeChapters } from './node/node.ts';
import { verdictOf } from './print.ts';
import { programFindings } from './programs.ts';
import { runtimeFindings } from './runtimes.ts';
import { commandFile } from '../../test/fixtures/command.ts';

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pc-doctor-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes a program that prints this text. */
function program(path: string, text: string, mode = 0o755): string {
  writeFileSync(path, `#!/bin/sh\nprintf '%s\\n' '${text}'\n`);
  chmodSync(path, mode);
  return path;
}

/** Writes a configuration, and returns its file. */
function configuration(folder: string, runtimes: Readonly<Record<string, string>>, more = ''): string {
  const file = join(folder, 'config.yaml');
  const [first = ''] = Object.keys(runtimes);
  const handlers = Object.entries(runtimes).map(([name, path]) => `  ${name}: { path: ${path} }\n`);
  const places = `root: lib\nstate: run\nsocket: run/x.sock\npolicy: [policy]\ncni: { confDir: cni }\n`;
  writeFileSync(file, `${places}runtimes:\n${handlers.join('')}defaultRuntime: ${first}\n${more}`);
  return file;
}

describe('the OCI runtimes of a configuration', () => {
  it('are judged by their own path and version, not by the programs that PATH finds first', async (t) => {
    const folder = folderFor(t);
    mkdirSync(join(folder, 'bin'));
    program(join(folder, 'bin/runc'), 'runc version 99.0.0');
    const named = program(join(folder, 'oci'), 'runc version 1.1.5');
    const before = process.env['PATH'];
    t.after(() => (process.env['PATH'] = before));
    process.env['PATH'] = `${join(folder, 'bin')}:${before ?? ''}`;
    const [finding] = await runtimeFindings(
      await loadDaemonConfig({ file: configuration(folder, { mine: named }) }),
    );
    assert.equal(finding?.topic, 'handler mine');
    assert.match(finding.found, /^1\.1\.5 {2}.*\/oci, the default$/u);
    assert.ok(finding.open?.includes('CVE-2025-31133'), 'the flaws of this version');
    assert.ok(!JSON.stringify(programFindings(packageRoot())).includes('99.0.0'));
  });

  it('are judged by the runc in PATH for a shim that names no other runtime', async (t) => {
    const folder = folderFor(t);
    const shim = program(join(folder, 'containerd-shim-runc-v2'), 'containerd-shim-runc-v2:');
    const file = configuration(folder, { mine: `${shim}, type: shim` });
    const config = await loadDaemonConfig({ file });
    const before = process.env['PATH'];
    t.after(() => (process.env['PATH'] = before));
    process.env['PATH'] = `${folder}:/bin`;
    program(join(folder, 'runc'), 'runc version 1.1.5');
    const [old] = await runtimeFindings(config);
    assert.ok(old?.open?.includes('CVE-2025-31133'), JSON.stringify(old));
    rmSync(join(folder, 'runc'));
    process.env['PATH'] = folder;
    const [none] = await runtimeFindings(config);
    assert.equal(none?.state, 'missing');
    assert.match(JSON.stringify(none), /the runtime of the shim, runc: there is no such program/u);
  });

  it('are usable behind a shim that answers only -v, as the one of gVisor', async (t) => {
    const folder = folderFor(t);
    const [shim, runsc] = [join(folder, 'containerd-shim-runsc-v1'), join(folder, 'runsc')];
    writeFileSync(
      shim,
      '#!/bin/sh\n[ "$*" = -v ] && echo shim || { echo "flag provided but not defined"; exit 2; }\n',
    );
    chmodSync(shim, 0o755);
    program(runsc, 'runsc version release-1');
    const file = configuration(folder, { gvisor: `${shim}, type: shim, runtimePath: ${runsc}` });
    const [finding] = await runtimeFindings(await loadDaemonConfig({ file }));
    assert.equal(finding?.state, 'fine', JSON.stringify(finding));
    assert.match(finding.found, /^release-1 .*: a shim, without user namespaces/u);
  });

  const unusable: readonly (readonly [string, (path: string) => void, RegExp])[] = [
    ['does not exist', () => undefined, /there is no such program/u],
    ['is not executable', (path) => program(path, 'crun version 1.30', 0o644), /the file is not executable/u],
    ['is a folder', (path) => mkdirSync(path), /the file is not executable/u],
    [
      'fails',
      (path) => writeFileSync(path, '#!/bin/sh\necho broken >&2; exit 3\n', { mode: 0o755 }),
      /ended with 3: broken/u,
    ],
  ];
  for (const [what, make, says] of unusable)
    it(`are missing if the program ${what}: no pod can start with the default handler, or some cannot start with another`, async (t) => {
      const folder = folderFor(t);
      const bad = join(folder, 'bad');
      make(bad);
      const good = program(join(folder, 'good'), 'crun version 1.30');
      const byDefault = await runtimeFindings(
        await loadDaemonConfig({ file: configuration(folder, { bad, good }) }),
      );
      assert.deepEqual(
        byDefault.map(({ state }) => state),
        ['missing', 'degraded'],
      );
      assert.match(byDefault[0]?.meaning?.join() ?? '', says);
      assert.equal(verdictOf(byDefault), 'Not ready. No pod can start: handler bad.');
      const beside = await runtimeFindings(
        await loadDaemonConfig({ file: configuration(folder, { good, bad }) }),
      );
      assert.equal(verdictOf(beside), 'Not ready. Some pods cannot start: handler bad.');
    });

  it('are missing if strict refuses an open vulnerability', async (t) => {
    const folder = folderFor(t);
    const file = configuration(
      folder,
      { old: program(join(folder, 'old'), 'crun version 1.8.1') },
      'strict: true\n',
    );
    const [finding] = await runtimeFindings(await loadDaemonConfig({ file }));
    assert.equal(finding?.state, 'missing');
    assert.match(
      finding.meaning?.[0] ?? '',
      /CVE-2025-24965.*are open in 1\.8\.1, and `strict: true` refuses/u,
    );
  });
});

describe('the verdict of doctor', () => {
  const finding = (state: Finding['state'], topic: string): Finding => ({ topic, state, found: '' });

  it('is ready if there are only warnings', () => {
    assert.equal(
      verdictOf([finding('fine', 'a'), finding('degraded', 'b')]),
      'Ready; 1 degraded, see above.',
    );
  });

  it('is not ready without controllers, in every mode', () => {
    assert.equal(cgroupFinding('', [], false).state, 'missing');
    assert.equal(cgroupFinding(undefined, ['rw', 'freezer'], false).state, 'missing');
    assert.deepEqual(cgroupFinding('cpuset cpu io memory pids', [], false).state, 'fine');
    const partly = cgroupFinding('cpu pids', [], false);
    assert.deepEqual(
      [partly.state, partly.meaning],
      ['degraded', ['containers cannot be limited in memory: the controllers are missing']],
    );
  });

  it('advises to boot another kernel where AppArmor is not built in', () => {
    assert.match(withoutAppArmor(false).fix ?? '', /CONFIG_SECURITY_APPARMOR/u);
    assert.match(withoutAppArmor(true).fix ?? '', /apparmor=1/u);
  });

  it('is ready on a machine without an os-release file', () => {
    assert.deepEqual(
      [distributionFinding('').state, distributionFinding("ID='debian'\nVERSION_ID='12'\n").state],
      ['degraded', 'fine'],
    );
  });

  it('names the policy, the network and the daemon when they are absent', async (t) => {
    const folder = folderFor(t);
    const config = configuration(folder, { good: program(join(folder, 'good'), 'crun version 1.30') });
    mkdirSync(join(folder, 'policy'));
    mkdirSync(join(folder, 'cni'));
    const chapters = await nodeChapters({ root: folder, config, packageRoot: packageRoot() });
    const verdict = verdictOf(chapters.flatMap(({ findings }) => findings));
    assert.equal(verdict, 'Not ready. No pod can start: daemon, policy, network.');
  });

  it('comes within seconds when the sockets of the daemon accept connections but do not answer', async (t) => {
    const folder = folderFor(t);
    const config = configuration(folder, { good: program(join(folder, 'good'), 'crun version 1.30') });
    for (const place of ['run', 'policy', 'cni']) mkdirSync(join(folder, place));
    for (const socket of ['run/x.sock', 'run/cni.sock']) {
      const accepted = new Set<Socket>();
      const silent = createServer((connection) => accepted.add(connection));
      await new Promise<void>((resolve) => silent.listen(join(folder, socket), resolve));
      t.after(() => {
        silent.close();
        for (const connection of accepted) connection.destroy();
      });
    }
    const started = Date.now();
    const chapters = await nodeChapters({ root: folder, config, packageRoot: packageRoot() });
    assert.ok(Date.now() - started < 20_000, `${Date.now() - started} ms`);
    const daemon = chapters.flatMap(({ findings }) => findings).find(({ topic }) => topic === 'daemon');
    assert.equal(daemon?.state, 'missing');
  });

  for (const [what, text, says] of [
    ['an unknown key', 'sokket: /x\n', /sokket/u],
    ['a text that is not YAML', 'socket: [\n', /config\.yaml:/u],
  ] as const)
    it(`is exit code 1 for a configuration with ${what}`, (t) => {
      const folder = folderFor(t);
      const file = join(folder, 'config.yaml');
      writeFileSync(file, text);
      const { status, stdout } = spawnSync(process.execPath, [commandFile, 'doctor', '--config', file], {
        encoding: 'utf8',
      });
      assert.equal(status, 1, stdout);
      assert.match(stdout, says);
      assert.match(stdout, /Not ready\. No pod can start: .*configuration\.\n$/u);
    });
});

it('names the module or the setting that a node lacks whose bridges bypass the IP rules', () => {
  const settings = (first: string | undefined, second: string | undefined) =>
    bridgedFinding([
      ['net.bridge.bridge-nf-call-iptables', first],
      ['net.bridge.bridge-nf-call-ip6tables', second],
    ]);
  assert.equal(settings('1', '1').state, 'fine');
  const unloaded = settings(undefined, undefined);
  assert.match(unloaded.found, /br_netfilter is not loaded/u);
  assert.match(unloaded.fix ?? '', /^modprobe br_netfilter/u);
  assert.match(
    unloaded.meaning?.join(' ') ?? '',
    /address of the bridge instead of the address of a client/u,
  );
  const off = settings('1', '0');
  assert.equal(off.state, 'degraded');
  assert.equal(off.fix, 'sysctl -w net.bridge.bridge-nf-call-ip6tables=1');
  assert.match(settings('0', '0').found, / and .* are 0$/u);
});
