/**
 * `npm run check [GATE …]`: runs the static gates of `npm test`, all or the named ones, and prints a line for
 * each. `npm run check -- --list` lists them. Exits with 0 if all passed, with 1 if one failed, and with 2
 * for an unknown gate or option.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { reasonOf } from '../../base/errors/index.ts';
import { chooseGates, gates, runGates } from './gates.ts';

process.chdir(join(import.meta.dirname, '../..'));
process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const refuse = (problem: string): number => {
    process.stderr.write(`check: ${problem}; npm run check -- --list lists the gates\n`);
    return 2;
  };
  let read: {
    readonly values: { readonly list?: boolean | undefined };
    readonly positionals: readonly string[];
  };
  try {
    read = parseArgs({ args: [...args], options: { list: { type: 'boolean' } }, allowPositionals: true });
  } catch (thrown) {
    return refuse(reasonOf(thrown));
  }
  if (read.values.list === true) {
    for (const { name, checks } of gates) process.stdout.write(`${name.padEnd(8)}${checks}\n`);
    return 0;
  }
  const chosen = chooseGates(read.positionals);
  if ('problem' in chosen) return refuse(chosen.problem);
  const failed = await runGates(process.stdout, chosen);
  return failed.length === 0 ? 0 : 1;
}
