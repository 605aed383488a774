import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import fileSystem from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

const { stat } = fileSystem;
let folder = '';
/** Creates the policy when its folder was found to be missing, before the parent of the folder is watched. */
fileSystem.stat = ((...given: Parameters<typeof stat>) =>
  stat(...given).catch((thrown: unknown) => {
    if (given[0] === join(folder, 'state')) {
      mkdirSync(join(folder, 'state'));
      writeFileSync(join(folder, 'state/policy.yaml'), '');
    }
    throw thrown;
  })) as typeof stat;
syncBuiltinESMExports();
const { watchPolicyFiles } = await import('./policy-files.ts');

test(
  'a policy that appears while its folders begin to be watched is noticed',
  { timeout: 60_000 },
  async (t) => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-policy-files-race-'));
    t.mock.timers.enable({ apis: ['setInterval'] });
    let changes = 0;
    const files = watchPolicyFiles(() => (changes += 1));
    t.after(() => {
      files.close();
      rmSync(folder, { recursive: true });
    });
    await files.follow([join(folder, 'state/policy.yaml')], new Date());
    while (changes === 0) await pause(20, undefined, { signal: t.signal });
  },
);
