import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readContainerSpec } from './container-spec.ts';

test('a damaged configuration refuses the command, and the error names the file', async () => {
  const bundle = mkdtempSync(join(tmpdir(), 'container-spec-'));
  const file = join(bundle, 'config.json');
  try {
    for (const damaged of ['{"process":{"args":["slee', 'null', '{}', '{"mounts":[],"process":null}']) {
      writeFileSync(file, damaged);
      await assert.rejects(readContainerSpec(bundle, 'c'.repeat(64)), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'RUNTIME_EXEC_REFUSED', damaged);
        assert.match(error.message, /config\.json is damaged/u);
        return true;
      });
    }
  } finally {
    rmSync(bundle, { recursive: true });
  }
});
