import type { Command } from 'commander';
import { registerApply } from './node/apply.ts';
import { registerGroup } from './node/group.ts';
import { registerServe } from './node/serve.ts';
import { registerStatus } from './node/status.ts';

/** `portcullis node`: its subcommands are files in `node/`. */
export function register(program: Command): void {
  const node = program
    .command('node')
    .description(
      'manage the declared state of this node, and of groups of nodes: apply, serve, compare, show',
    );
  registerApply(node);
  registerServe(node);
  registerStatus(node);
  registerGroup(node);
}
