import { globSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { closest } from '../../base/lists/index.ts';

export interface Gate {
  readonly name: string;
  /** The purpose of the gate, for `npm run check -- --list`. */
  readonly checks: string;
  /** Arguments of Node: a script in node_modules/.bin, or Node's own test runner. */
  readonly command: () => readonly string[];
  /** The gate is test files. `npm test` runs and counts them with all other tests. */
  readonly isTests?: true;
  /** `npm test` runs the gate after the tests, beside those that run by themselves and the fuzzing. */
  readonly isLate?: true;
}

const tool = (name: string, ...args: readonly string[]): Gate['command'] => {
  return () => [join('node_modules/.bin', name), ...args];
};
const modules = [
  'base',
  'trust',
  'entitlements',
  'cni-plugins',
  'fleet',
  'admission',
  'runtime',
  'node',
  'cli',
  'bench',
  'packaging',
  'site',
  'test',
];

/** The static gates of `npm test` and `npm run check`. The slowest gate is first. */
export const gates: readonly Gate[] = [
  {
    name: 'lint',
    checks: 'the types (TypeScript) and the rules of oxlint.config.ts (oxlint)',
    command: tool('oxlint'),
    isLate: true,
  },
  {
    name: 'format',
    checks: 'the code format (oxfmt)',
    command: tool('oxfmt', '--list-different', '.'),
  },
  {
    name: 'layers',
    checks: 'the imports between modules (dependency-cruiser)',
    // Prints the reason of a broken rule, too.
    command: tool(
      'depcruise',
      ...['--config', '.dependency-cruiser.cjs', '--output-type', 'err-long'],
      ...modules,
    ),
  },
  {
    name: 'prose',
    checks: 'the words of texts (textlint, test/house/prose-words.ts)',
    command: () => ['test/house/prose.ts'],
  },
  {
    name: 'unused',
    checks: 'unused files, exports and packages (knip)',
    command: tool('knip', '--no-config-hints'),
  },
  {
    name: 'house',
    checks: 'the repository itself: documents, wording, the lists of imports (test/house/*.test.ts)',
    command: () => [
      '--test',
      '--test-force-exit',
      '--test-reporter=dot',
      ...globSync('test/house/*.test.ts').sort(),
    ],
    isTests: true,
  },
];

/**
 * Returns the gates that have the given names, or all of them without a name. For an unknown name it returns
 * the problem, with the nearest name.
 */
export function chooseGates(
  names: readonly string[],
  from: readonly Gate[] = gates,
): readonly Gate[] | { readonly problem: string } {
  const known = from.map(({ name }) => name);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined)
    return names.length === 0 ? from : from.filter(({ name }) => names.includes(name));
  const near = closest(unknown, known);
  const fix = near === undefined ? `write one of ${known.join(', ')}` : `did you mean ${near}?`;
  return { problem: `there is no gate ${JSON.stringify(unknown)}: ${fix}` };
}

/**
 * Runs gates, two at a time, and returns the names of the failed ones. Each prints one line with its result
 * and its time; a failed gate also prints its output.
 * A gate that does not end within `limitMs` is ended and has failed.
 * @param niceness above 0, the gates take the processor time that other work leaves (nice(1))
 */
export async function runGates(
  out: NodeJS.WritableStream,
  chosen: readonly Gate[],
  niceness = 0,
  limitMs = 3_600_000,
): Promise<string[]> {
  // Node's test runner refuses to run inside a test, and a gate runs no code whose coverage is measured. The
  // caller may change its environment meanwhile.
  const { NODE_TEST_CONTEXT: _outer, NODE_V8_COVERAGE: _coverage, ...own } = process.env;
  // The type checker of lint is a Go program. With Go's default, it spends a third of its processor time on
  // garbage, and needs as much memory at most.
  const env = { GOGC: '400', ...own };
  const waiting = [...chosen];
  const failed: string[] = [];
  const worker = async (): Promise<void> => {
    for (let gate = waiting.shift(); gate !== undefined; gate = waiting.shift()) {
      const started = performance.now();
      const { status, output } = await run(gate.command(), env, niceness, limitMs);
      const isOk = status === 0;
      out.write(
        `${isOk ? '✔' : '✖'} ${gate.name} ${isOk ? 'ok' : 'failed'} (${((performance.now() - started) / 1000).toFixed(1)} s)\n`,
      );
      if (isOk) continue;
      failed.push(gate.name);
      out.write(`${output.trimEnd()}\n`);
    }
  };
  await Promise.all([worker(), worker()]);
  return failed;
}

async function run(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  niceness: number,
  limitMs: number,
): Promise<{ status: number; output: string }> {
  const options = {
    ...({ env, extendEnv: false, reject: false, all: true, stdin: 'ignore' } as const),
    timeout: limitMs,
  } as const;
  const command = ['nice', '-n', String(niceness), process.execPath, ...args] as const;
  const { exitCode = 1, all, timedOut } = await execa(command[0], command.slice(1), options);
  // A program that ends by itself at SIGTERM may exit with 0.
  if (timedOut) return { status: 1, output: `${all}\nit did not end within ${limitMs / 1000} s` };
  return { status: exitCode, output: all };
}
