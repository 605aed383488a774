import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findTool } from '../fixtures/tools.ts';

/** TLC's result for a module. */
export interface Checked {
  /** Every reachable state was checked, and no property was violated. */
  readonly holds: boolean;
  /** The violated invariants and properties, in TLC's words. */
  readonly violated: readonly string[];
  readonly states: number;
  readonly output: string;
}

const modules = [
  'Life.tla',
  'Properties.tla',
  'Trace.tla',
  'Trace.cfg',
  'Safety.cfg',
  'SafetyOfImages.cfg',
  'SafetyOfNames.cfg',
  'Liveness.cfg',
  'LivenessOfImages.cfg',
];

/** Returns why the checker cannot run here; false when it can. */
export function withoutTlc(): string | false {
  const { skip } = findTool('tlc');
  if (skip !== false) return skip;
  return spawnSync('java', ['-version']).status === 0
    ? false
    : 'no java: apt-get install default-jre-headless';
}

/**
 * Runs TLC on a copy of the specification.
 * @param files added to the copy, or replacing a file of it
 * @param isShort the check takes seconds: Java's optimising compiler would cost more than it saves
 * @throws Error when TLC could not check: that is neither a yes nor a no
 */
export function runTlc(
  module: string,
  configuration: string,
  files: Readonly<Record<string, string>> = {},
  { isShort = false }: { readonly isShort?: boolean } = {},
): Checked {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-tlc-'));
  try {
    for (const name of modules) copyFileSync(join(import.meta.dirname, name), join(folder, name));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    // Trace.tla counts how far each trace is explained, and each worker of TLC has its own counts.
    const workers = module === 'Trace.tla' ? '1' : 'auto';
    const args = ['-workers', workers, '-metadir', join(folder, 'states'), '-config', configuration, module];
    const { stdout, stderr, status } = spawnSync(findTool('tlc').path, args, {
      cwd: folder,
      // TLC unpacks its standard modules there.
      env: {
        ...process.env,
        JAVA_TOOL_OPTIONS: `-Djava.io.tmpdir=${folder}${isShort ? ' -XX:TieredStopAtLevel=1' : ''}`,
      },
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    });
    const output = `${stdout}${stderr}`;
    const violated = [
      ...[...output.matchAll(/^Error: Invariant (\w+) is violated/gm)].map(([, name = '']) => name),
      ...(/^Error: Temporal properties were violated/m.test(output) ? ['Temporal'] : []),
    ];
    const holds = status === 0 && output.includes('No error has been found');
    if (!holds && violated.length === 0)
      throw new Error(`TLC could not check ${module} (exit ${String(status)}):\n${output}`);
    const states = Number(
      [...output.replaceAll(',', '').matchAll(/(\d+) distinct states found/g)].at(-1)?.[1] ?? 0,
    );
    return { holds, violated, states, output };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Returns the version that the checker reports. */
export function versionOfTlc(): string {
  return `TLC ${/Version [^\n]*/.exec(spawnSync(findTool('tlc').path, ['-help'], { encoding: 'utf8' }).stdout)?.[0] ?? 'of no version'}`;
}
