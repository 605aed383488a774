import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { PortcullisError } from '../base/errors/index.ts';
import { startKernelWorker } from '../base/kernel/index.ts';
import type { Kernel } from '../base/kernel/index.ts';
import { readCgroupMounts } from './cgroups/cgroups.ts';
import { sweepUnclaimed } from './sweep.ts';

const failure = new PortcullisError({
  code: 'TEST_STUCK',
  kind: 'internal',
  attempted: 'remove',
  on: 'it',
  why: 'it is stuck',
  fix: 'none',
});
const ids = { claimed: 'a'.repeat(64), first: 'b'.repeat(64), second: 'c'.repeat(64) };

describe('the leftovers of an earlier run', () => {
  let kernel: Kernel;
  let folder = '';
  before(async () => {
    kernel = await startKernelWorker();
    folder = mkdtempSync(join(tmpdir(), 'portcullis-sweep-'));
  });
  after(async () => {
    await kernel.close();
    rmSync(folder, { recursive: true });
  });

  /**
   * Sweeps a state folder that has leftovers everywhere; the parts named in `stuck` reject. Returns what was
   * done and what is left.
   */
  async function sweep(stuck: readonly string[]) {
    const state = mkdtempSync(join(folder, 'state-'));
    const folders = {
      pods: join(state, 'pods'),
      containers: join(state, 'containers'),
      attach: join(state, 'a'),
      monitorLogs: join(state, 'monitor-logs'),
    };
    const oci = join(state, 'oci');
    const exits = join(state, 'exits');
    for (const made of [exits, folders.monitorLogs, folders.attach]) mkdirSync(made);
    // A daemon was killed while it ended a prepared monitor: its bundle is gone already.
    for (const name of [ids.first.slice(0, 16), 'd'.repeat(16), 'other'])
      symlinkSync('/nowhere', join(folders.attach, name));
    for (const name of [ids.first, `${ids.first}.tmp`]) writeFileSync(join(folders.monitorLogs, name), '');
    // The last file is one that conmon is about to rename.
    for (const name of [ids.first, ids.second, `.${ids.first}.tmp`]) writeFileSync(join(exits, name), '0');
    for (const place of [folders.pods, folders.containers, oci])
      for (const id of [ids.first, ids.second]) {
        mkdirSync(join(place, id), { recursive: true });
        writeFileSync(join(place, id, 'file'), '');
      }
    const done: string[] = [];
    const act = (name: string) => () => {
      if (stuck.includes(name)) return Promise.reject(failure);
      done.push(name);
      return Promise.resolve([]);
    };
    const left = await sweepUnclaimed({
      containers: [],
      sandboxes: [],
      images: { reconcile: act('images') },
      network: { gc: () => act('network')().then(() => ({ restored: [], lost: [] })) },
      pool: { reconcile: act('pool') },
      handlers: [
        {
          stateDir: oci,
          delete: (id) =>
            id === ids.first && stuck.includes('handler')
              ? Promise.reject(failure)
              : kernel.removeTree(join(oci, id)),
        },
      ],
      kernel,
      cgroups: readCgroupMounts(),
      state,
      folders,
      exits: { folder: exits, forget: (id) => rm(join(exits, id)) },
    });
    assert.deepEqual(readdirSync(exits), [`.${ids.first}.tmp`]);
    assert.deepEqual(readdirSync(folders.monitorLogs), []);
    assert.deepEqual(readdirSync(folders.attach), ['other']);
    const existing = [folders.pods, folders.containers, oci]
      .flatMap((place) => [ids.first, ids.second].map((id) => join(place, id)))
      .filter((path) => existsSync(path));
    return { done, left, standing: existing, oci };
  }

  for (const stuck of ['images', 'network', 'pool'])
    it(`are removed even if the part for ${stuck} fails, and the failure is reported`, async () => {
      const { done, left, standing: existing } = await sweep([stuck]);
      assert.deepEqual(
        done.toSorted(),
        ['images', 'network', 'pool'].filter((name) => name !== stuck),
      );
      assert.deepEqual(existing, []);
      assert.deepEqual(
        left.map(({ on, why }) => [on, /it is stuck/.test(why)]),
        [[stuck === 'pool' ? 'namespaces' : stuck, true]],
      );
    });

  it('are removed even if one container of an OCI runtime cannot be deleted, and its path is reported', async () => {
    const { done, left, standing: existing, oci } = await sweep(['handler']);
    assert.equal(done.length, 3);
    assert.deepEqual(existing, [join(oci, ids.first)]);
    assert.deepEqual(
      left.map(({ on }) => on),
      [join(oci, ids.first)],
    );
  });

  it('are not reported if all of them are removed', async () => {
    const { left, standing: existing } = await sweep([]);
    assert.deepEqual([left, existing], [[], []]);
  });
});
