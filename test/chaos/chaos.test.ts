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

interface Ended {
  readonly code: number;
  readonly reported: string;
}

/** Returns a function that runs parts of the suite in one environment, once, and returns the result. */
function partsOf(...args: readonly string[]): () => Promise<Ended> {
  let ended: Promise<Ended> | undefined;
  const run = async (): Promise<Ended> => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-chaos-trace-'));
    try {
      const trace = join(folder, 'trace.jsonl');
      let reported = '';
      const code = await runApart(
        suite,
        ['--no-build', '--verbose', '--trace', trace, ...args],
        (text) => (reported += text),
      );
      if (code === 0) runs.push(readRun(trace));
      return { code, reported };
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
  return () => (ended ??= run());
}

const ends = partsOf('--only', 'kills,others,rest', '--kills', '7', '--pods', '3', '--shared');
const faults = partsOf('--only', 'workers,faults,reads,limits', '--kills', '10', '--seed', '1');

for (const [title, run, figure] of [
  [
    'killed during requests and stops: the daemon starts again, the request succeeds, and nothing is left',
    ends,
    /[1-9]\d* kills during 10 requests/u,
  ],
  [
    'monitor, OCI runtime and first process killed: exits are reported correctly, and the next attempt runs',
    ends,
    /of [1-9] kills of monitor, \d+ of [1-9] kills of runtime, \d+ of [1-9] kills of init/u,
  ],
  [
    'faults during requests and the start: an answer with a reason, and the request succeeds',
    faults,
    /[1-9]\d* faults at/u,
  ],
  [
    'few descriptors and little memory during requests: an answer with a reason, and the request succeeds',
    faults,
    /[1-9]\d* limits of descriptors and memory/u,
  ],
  ['reads that fail: no object is reported as missing', faults, /[1-9]\d* faults of reads/u],
  [
    'Workers ended during requests: the daemon continues, or ends and starts again',
    faults,
    /[1-9]\d* ends of Workers/u,
  ],
  [
    'killed and stopped at rest: pods continue, logs have no gap, and exits are reported correctly',
    ends,
    /at rest 3 pods/u,
  ],
] as const)
  test(title, { skip }, async () => {
    const { code, reported } = await run();
    assert.equal(code, 0, reported);
    assert.match(reported, figure);
  });

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
