import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

const skip =
  spawnSync('systemd-analyze', ['--version']).status === 0
    ? false
    : 'no systemd-analyze: apt-get install systemd';
const here = import.meta.dirname;
const read = (name: string): string => readFileSync(join(here, name), 'utf8');

/** Creates a folder of units as they are installed, with a program at the path in the unit. */
function installed(t: TestContext, dropIns: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'pc-units-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, 'portcullisd');
  writeFileSync(program, '#!/bin/sh\n');
  chmodSync(program, 0o755);
  writeFileSync(
    join(folder, 'portcullisd.service'),
    read('portcullisd.service').replace('/usr/local/bin/portcullisd', program),
  );
  writeFileSync(
    join(folder, 'portcullis-node.service'),
    read('portcullis-node.service').replace('/usr/local/bin/portcullis node', `${program} node`),
  );
  writeFileSync(
    join(folder, 'kubelet.service'),
    '[Unit]\nDescription=kubelet\n[Service]\nExecStart=/bin/true\n',
  );
  for (const [name, unit] of [
    ['portcullisd-restricted.conf', 'portcullisd.service'],
    ['kubelet-portcullis.conf', 'kubelet.service'],
  ] as const) {
    if (!dropIns.includes(name)) continue;
    mkdirSync(join(folder, `${unit}.d`));
    writeFileSync(join(folder, `${unit}.d`, '50-ours.conf'), read(name));
  }
  return folder;
}

function analyze(
  folder: string,
  ...args: string[]
): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', args, {
    encoding: 'utf8',
    env: { ...process.env, SYSTEMD_UNIT_PATH: `${folder}:`, SYSTEMD_COLORS: '0' },
  });
  return { status, output: stdout + stderr };
}

/** Returns the lines about our files: this machine's own units may have faults. */
function complaints(folder: string, output: string): string[] {
  return output.split('\n').filter((line) => line.includes(folder) || /portcullis|50-ours/.test(line));
}

describe('the systemd units', { skip }, () => {
  for (const dropIns of [[], ['portcullisd-restricted.conf', 'kubelet-portcullis.conf']]) {
    it(`are valid for systemd, ${dropIns.length === 0 ? 'unchanged' : `with ${dropIns.join(' and ')}`}`, (t) => {
      const folder = installed(t, dropIns);
      for (const unit of ['portcullisd.service', 'portcullis-node.service', 'kubelet.service']) {
        const { output } = analyze(folder, 'verify', '--man=no', join(folder, unit));
        assert.deepEqual(complaints(folder, output), []);
      }
    });
  }

  // The units of containerd 2.4 and CRI-O 1.36 score 9.6 as well: a runtime must have every privilege that it
  // can give to containers.
  for (const [dropIns, exposure] of [
    [[], 96],
    [['portcullisd-restricted.conf'], 81],
  ] as const) {
    it(`have an exposure of at most ${exposure / 10}, ${dropIns.length === 0 ? 'unchanged' : `with ${dropIns.join()}`} (systemd-analyze security)`, (t) => {
      const folder = installed(t, dropIns);
      const { status, output } = analyze(
        folder,
        'security',
        '--offline=true',
        `--threshold=${exposure}`,
        join(folder, 'portcullisd.service'),
      );
      assert.equal(status, 0, output.split('\n').slice(-3).join('\n'));
    });
  }

  it('neither hide the mounts of pods from the node nor filter what containers do', () => {
    const unit = read('portcullisd.service')
      .split('\n')
      .filter((line) => !line.startsWith('#'))
      .join('\n');
    const mountNamespace =
      /^(Protect\w+|Private\w+|ReadOnlyPaths|ReadWritePaths|InaccessiblePaths|BindPaths|TemporaryFileSystem|RootDirectory|MountFlags)=/m;
    const inherited =
      /^(SystemCall\w+|Restrict\w+|LockPersonality|NoNewPrivileges|MemoryDenyWriteExecute|CapabilityBoundingSet)=/m;
    assert.doesNotMatch(unit, mountNamespace);
    assert.doesNotMatch(unit, inherited);
    assert.doesNotMatch(read('portcullisd-restricted.conf').replaceAll(/^#.*$/gm, ''), mountNamespace);
  });
});
