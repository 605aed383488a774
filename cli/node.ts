import type { Command } from 'commander';
import { registerApply } from './node/apply.ts';
import { registerGroup } from './node/group.ts';
import { registerImage } from './node/image.ts';
import { registerServe } from './node/serve.ts';
import { registerStatus } from './node/status.ts';

/** `portcullis node`: its subcommands are files in `node/`. */
export function register(program: Command): void {
  const node = program
    .command('node')
    .description(
      'manage the declared state and the image of this node, and groups of nodes: apply, serve, status, diff, group, image',
    );
  registerApply(node);
  registerServe(node);
  registerStatus(node);
  registerGroup(node);
  registerImage(node);
}
