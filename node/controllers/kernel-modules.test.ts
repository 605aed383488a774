import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { NodeState } from '../model/types.ts';
import { kernelModuleController } from './kernel-modules.ts';

const controller = kernelModuleController();
const limits = { signal: new AbortController().signal };

describe('kernel modules of a state', () => {
  it('are present when the kernel has them, loaded or built in', async () => {
    const [there = ''] = readdirSync('/sys/module');
    const found = await controller.observe(new Set([there, 'portcullis-none']), limits);
    assert.deepEqual([...found.keys()], [there]);
  });

  it('are refused with the reason if they cannot be loaded', async () => {
    const change = {
      action: 'create',
      section: 'kernelModules',
      name: 'portcullis-none',
      drift: false,
    } as const;
    await assert.rejects(controller.apply(change, {} as NodeState, limits), (thrown: Error) => {
      assert.match(
        thrown.message,
        /load the kernel module portcullis-none: .*modprobe.*NODE_STATE_CHANGE_REFUSED/u,
      );
      return true;
    });
  });
});
