import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { closeExecScopes, containerHome, openExecScope, openExecScopes } from './exec-scope.ts';

const mounts = (): string => readFileSync('/proc/self/mountinfo', 'utf8');
const unified = /^0::\//m.test(readFileSync('/proc/self/cgroup', 'utf8'));

/**
 * Version 1, as crun sees a hybrid machine: commands get their cgroups in a version 2 that is not mounted
 * anywhere.
 */
describe(
  'scopes of commands on a host with cgroup version 1',
  { skip: unified ? false : 'this kernel has no cgroup version 2' },
  () => {
    let kernel: Kernel;
    before(async () => {
      kernel = await startKernelWorker();
    });
    after(() => kernel.close());

    it('use a descriptor, so that a killed daemon leaves no mount', async () => {
      const before = mounts();
      const scopes = await openExecScopes({ version: 1 }, kernel);
      assert.equal(scopes.kind, 'beside');
      assert.equal(mounts(), before);
      assert.ok(scopes.kind === 'beside' && existsSync(join(scopes.root, 'cgroup.procs')));
      await closeExecScopes(scopes);
      assert.equal(scopes.kind === 'beside' && existsSync(join(scopes.root, 'cgroup.procs')), false);
      assert.equal(mounts(), before);
    });

    it('kill all processes that a command started, including processes that left its session, and no others', async () => {
      const scopes = await openExecScopes({ version: 1 }, kernel);
      const command = spawn('sh', ['-c', 'read -r go; setsid sleep 600 & sleep 600'], {
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      const bystander = spawn('sleep', ['600'], { stdio: 'ignore' });
      const scope = await openExecScope(scopes, {
        container: `test${process.pid}`,
        name: 'one',
        init: process.pid,
        takesCgroup: false,
      });
      assert.ok(scope);
      await scope.adopt(command.pid ?? 0);
      command.stdin.end('\n');
      const path = join(
        (scopes as { readonly root: string }).root,
        'portcullis-exec',
        `test${process.pid}-one`,
      );
      const inside = (): number => readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').length - 1;
      while (inside() < 3) await new Promise((resolve) => setTimeout(resolve, 10));
      const gone = once(command, 'exit');
      await scope.kill(0);
      await gone;
      await scope.close();
      assert.equal(existsSync(path), false);
      assert.equal(bystander.exitCode, null);
      assert.ok(readdirSync(`/proc/${bystander.pid ?? 0}`).length > 0);
      bystander.kill('SIGKILL');
      await once(bystander, 'exit');
      await closeExecScopes(scopes);
    });
  },
);

describe('the cgroup of a container whose first process moved below it', () => {
  for (const [path, expected] of [
    ['/kubepods/pod1/c1', '/kubepods/pod1/c1'],
    ['/kubepods/pod1/c1/init', '/kubepods/pod1/c1'],
    ['/kubepods/pod1/c1/c1/deep', '/kubepods/pod1/c1'],
    ['/k.slice/k-pod1.slice/portcullis-c1.scope', '/k.slice/k-pod1.slice/portcullis-c1.scope'],
    ['/k.slice/portcullis-c1.scope/container/init', '/k.slice/portcullis-c1.scope/container'],
    ['/k.slice/portcullis-c1.scope/init', '/k.slice/portcullis-c1.scope'],
    ['/elsewhere', '/elsewhere'],
  ] as const)
    it(`is ${expected} for ${path}`, () => assert.equal(containerHome(path, 'c1'), expected));
});
