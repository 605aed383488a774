import { globSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { closest } from '../../base/lists/index.ts';

export interface Gate {
  readonly name: string;
  /** What the gate checks, for `npm run check -- --list`. */
  readonly checks: string;
  /** Arguments of Node: a script in node_modules/.bin, or Node's own test runner. */
  readonly command: () => readonly string[];
  /** The gate is test files. `npm test` runs and counts them with all other tests. */
  readonly isTests?: true;
}

const tool = (name: string, ...args: readonly string[]): Gate['command'] => {
  return () => [join('node_modules/.bin', name), ...args];
};
const rooms = [
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
  { name: 'lint', checks: 'the rules of eslint.config.js (eslint)', command: tool('eslint', '.') },
  {
    name: 'format',
    checks: 'the code format (prettier)',
    command: tool('prettier', '--check', '--log-level', 'warn', '.'),
  },
  { name: 'types', checks: 'the types (tsc)', command: tool('tsc', '--project', '.') },
  {
    name: 'console',
    checks: 'the types of the console, which runs in a browser (tsc)',
    command: tool('tsc', '--project', 'fleet/console'),
  },
  {
    name: 'layers',
    checks: 'the imports between rooms (dependency-cruiser)',
    command: tool('depcruise', '--config', '.dependency-cruiser.cjs', ...rooms),
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
 */
export async function runGates(out: NodeJS.WritableStream, chosen: readonly Gate[]): Promise<string[]> {
  const waiting = [...chosen];
  const failed: string[] = [];
  const worker = async (): Promise<void> => {
    for (let gate = waiting.shift(); gate !== undefined; gate = waiting.shift()) {
      const started = performance.now();
      const { status, output } = await run(gate.command());
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

async function run(args: readonly string[]): Promise<{ status: number; output: string }> {
  // Node's test runner refuses to run inside a test.
  const { NODE_TEST_CONTEXT: _outer, ...env } = process.env;
  const options = { env, extendEnv: false, reject: false, all: true, stdin: 'ignore' } as const;
  const { exitCode = 1, all } = await execa(process.execPath, args, options);
  return { status: exitCode, output: all };
}
