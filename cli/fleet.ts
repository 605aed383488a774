import type { Command } from 'commander';
import { registerList } from './fleet/list.ts';
import { registerServe } from './fleet/serve.ts';
import { registerToken } from './fleet/token.ts';

/** `portcullis fleet`: its subcommands are files in `fleet/`. */
export function register(program: Command): void {
  const fleet = program
    .command('fleet')
    .description('the aggregator: verdicts, alerts and state of many nodes in one place');
  registerServe(fleet);
  registerToken(fleet);
  registerList(fleet);
}
