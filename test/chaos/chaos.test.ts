import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findRegistry } from '../fixtures/registry.ts';
import { checkTraces } from '../specification/checks.ts';
import { readRun } from '../specification/events.ts';
import type { Run } from '../specification/events.ts';
import { withoutTlc } from '../specification/tlc.ts';
import { runApart } from './own-namespaces.ts';

const skip =
  findRegistry() === undefined
    ? 'no docker-registry on this machine'
    : process.getuid?.() === 0
      ? false
      : 'needs root';
const suite = join(import.meta.dirname, 'run.ts');
const runs: Run[] = [];

for (const [title, args] of [
  [
    'killed once during each request: the daemon starts again, the request succeeds, and nothing is left',
    ['--only', 'kills', '--kills', '6', '--shared'],
  ],
  [
    'monitor, OCI runtime and first process killed: exits are reported correctly, and the next attempt runs',
    ['--only', 'others', '--kills', '4', '--seed', '1'],
  ],
  [
    'faults during requests and the start: an answer with a reason, and the request succeeds',
    ['--only', 'faults', '--kills', '7', '--seed', '1'],
  ],
  [
    'few descriptors and little memory during requests: an answer with a reason, and the request succeeds',
    ['--only', 'limits', '--kills', '3', '--seed', '1'],
  ],
  ['reads that fail: no object is reported as missing', ['--only', 'reads', '--kills', '3', '--seed', '1']],
  [
    'Workers ended during requests: the daemon continues, or ends and starts again',
    ['--only', 'workers', '--kills', '4', '--seed', '1'],
  ],
  [
    'killed and stopped at rest: pods continue, logs have no gap, and exits are reported correctly',
    ['--only', 'rest', '--pods', '3'],
  ],
] as const) {
  test(title, { skip }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-chaos-trace-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const trace = join(folder, 'trace.jsonl');
    let reported = '';
    const code = await runApart(
      suite,
      ['--no-build', '--verbose', '--trace', trace, ...args],
      (text) => (reported += text),
    );
    assert.equal(code, 0, reported);
    runs.push(readRun(trace));
  });
}

test(
  'each change of the records in these runs is a step of the specification',
  {
    skip: skip === false ? withoutTlc() : skip,
  },
  () => {
    assert.ok(runs.length > 0, 'no run ended');
    checkTraces(runs);
  },
);
