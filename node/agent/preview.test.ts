import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { kernelModuleController } from '../controllers/kernel-modules.ts';
import { stateWithDefaults } from '../document/defaults.ts';
import { formatPreview, previewState } from './preview.ts';

it('a plan removes no kernel module that stays loaded because something uses it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-node-preview-'));
  try {
    for (const [name, users] of [
      ['portcullis_free', '0'],
      ['portcullis_used', '1'],
    ] as const) {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, 'refcnt'), `${users}\n`);
    }
    const loaded = { made: true, fingerprint: 'as before', visible: 'loaded' };
    const owned = { kernelModules: { portcullis_free: loaded, portcullis_used: loaded } };
    const preview = await previewState([kernelModuleController(folder)], stateWithDefaults({}, []), owned);
    assert.equal(formatPreview(preview), 'kernelModules:\n  - portcullis_free\n      - loaded\n');
    assert.deepEqual(preview.problems, []);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
