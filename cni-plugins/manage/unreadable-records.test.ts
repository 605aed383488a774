import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readNetworkReport } from './report.ts';

const nobody = 65_534;

test(
  'the networks are not reported as empty to a user who may not read the records',
  { skip: process.getuid?.() === 0 ? false : 'needs root' },
  (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-unreadable-'));
    t.after(() => {
      process.seteuid?.(0);
      rmSync(folder, { recursive: true });
    });
    chmodSync(folder, 0o755);
    const [root, confDir] = [join(folder, 'root'), join(folder, 'cni')];
    mkdirSync(root, { mode: 0o700 });
    mkdirSync(confDir);
    const report = (name: string): unknown =>
      readNetworkReport({
        databasePath: join(folder, name, 'network.db'),
        confDir,
        choice: { plugins: 'auto', maxConfigs: 1 },
      });
    writeFileSync(join(root, 'network.db'), '');
    process.seteuid?.(nobody);
    assert.throws(() => report('root'), {
      code: 'STORAGE_NO_ACCESS',
      message: /network\.db: this user has no permission; run the command as root/u,
    });
    assert.doesNotThrow(() => report('absent'));
  },
);
