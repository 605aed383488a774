import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Children } from './children.ts';
import type { Ended, Listener } from './children.ts';
import { usualLimits } from './judge.ts';
import type { Finding, FuzzTask } from './protocol.ts';
import { loadTarget } from './targets/index.ts';

/** The result of fuzzing one target. */
export interface Outcome {
  readonly target: string;
  readonly inputs: number;
  /** Blocks of the product's sources that ran. */
  readonly blocks: number;
  /** Inputs that ran code that no other input ran. */
  readonly corpus: number;
  readonly findings: readonly Finding[];
  /** Inputs beyond the corpus that ran new code. */
  readonly fresh: readonly Uint8Array[];
}

const mebibyte = 1024 * 1024;
/** Heap that the sources, the target's seeds and V8 itself use. */
const baseMegabytes = 96;
/**
 * V8 ends the process now and then while it collects block coverage (SIGSEGV in Coverage::Collect,
 * "unreachable code" when it optimises a function whose coverage is recorded). Such a child is followed by
 * another, which reads the same input again without coverage. Optimisation is off, which makes the crash
 * rarer; a child with optimisation reads inputs again that seem slow.
 */
const withCoverage = ['--no-opt', '--no-maglev'];
const mostRestarts = 200;

/**
 * Fuzzes one target in a child process, or replays its corpus. A child that hangs or ends is a finding of the
 * input that it was reading. It stops early after `mostFindings`.
 * @param children the child that read an earlier target reads this one too, if it can
 */
export async function runTarget(
  children: Children,
  options: {
    readonly target: string;
    readonly seed: number;
    readonly milliseconds: number;
    readonly mode: 'fuzz' | 'replay';
    readonly mostFindings?: number;
  },
): Promise<Outcome> {
  const { target, seed, milliseconds, mode, mostFindings = 5 } = options;
  const { memoryFactor } = (await loadTarget(target)).allows ?? usualLimits;
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-fuzz-'));
  const findings: Finding[] = [];
  const fresh: Uint8Array[] = [];
  const suspects = { time: [] as Uint8Array[], memory: [] as Uint8Array[] };
  let figures = { inputs: 0, blocks: 0, corpus: 0 };
  const add = (finding: Finding): void => {
    if (!findings.some(({ kind, why }) => kind === finding.kind && why === finding.why))
      findings.push(finding);
  };
  const run = (
    by: Children,
    task: Partial<FuzzTask>,
    execArgv: readonly string[],
    hear: Listener['hear'],
  ): Promise<Ended | undefined> =>
    by.run({ target, seed, milliseconds, mode, progress: join(folder, 'progress'), ...task }, execArgv, {
      hear,
      add,
    });
  try {
    const input = join(folder, 'input');
    const found = join(folder, 'found');
    mkdirSync(found);
    const check = async (
      bytes: Uint8Array,
      execArgv: readonly string[] = [],
    ): Promise<string | undefined> => {
      writeFileSync(input, bytes);
      // Memory that other readings left would count.
      const alone = new Children();
      const ended = await run(alone, { mode: 'check', input }, execArgv, (message) => {
        if (message.kind === 'finding') add(message.finding);
      });
      await alone.end();
      return ended?.how;
    };
    const until = performance.now() + milliseconds;
    for (let start = 0; start <= mostRestarts && findings.length < mostFindings; start++) {
      const task: Partial<FuzzTask> = {
        seed: seed + 1_000_003 * start,
        milliseconds: until - performance.now(),
        found,
      };
      const ended = await run(children, task, mode === 'fuzz' ? withCoverage : [], (message, stop) => {
        if (message.kind === 'finding') {
          add(message.finding);
          if (findings.length >= mostFindings) stop();
        } else if (message.kind === 'new') {
          writeFileSync(join(found, String(fresh.length).padStart(6, '0')), message.input);
          fresh.push(message.input);
        } else if (message.kind === 'suspect') suspects[message.of].push(message.input);
        else figures = { ...message, inputs: message.inputs + figures.inputs };
      });
      if (ended === undefined) break;
      const again = await check(ended.input);
      if (again !== undefined || mode === 'replay') {
        add({ kind: 'crash', target, why: `the process ended: ${again ?? ended.how}`, input: ended.input });
        break;
      }
      figures = { ...figures, inputs: figures.inputs + ended.count };
      if (performance.now() > until) break;
    }
    const largest = (some: Uint8Array[]): Uint8Array[] =>
      some.sort((a, b) => b.length - a.length).slice(0, 3);
    for (const bytes of largest(suspects.time)) {
      const how = await check(bytes);
      if (how !== undefined) add({ kind: 'crash', target, why: `the process ended: ${how}`, input: bytes });
    }
    for (const bytes of largest(suspects.memory)) {
      const limit = baseMegabytes + Math.ceil((memoryFactor * bytes.length) / mebibyte);
      if ((await check(bytes, [`--max-old-space-size=${limit}`])) !== undefined)
        add({
          kind: 'memory',
          target,
          input: bytes,
          why: `${bytes.length} bytes took more than ${limit} MiB of heap`,
        });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { target, ...figures, findings, fresh };
}
