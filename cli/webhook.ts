import type { Command } from 'commander';
import { registerDefinitions } from './webhook/definitions.ts';
import { registerServe } from './webhook/serve.ts';

/** `portcullis webhook`: its subcommands are files in `webhook/`. */
export function register(program: Command): void {
  const webhook = program
    .command('webhook')
    .description('run the admission webhook of Kubernetes, which refuses images before they reach a node');
  registerServe(webhook);
  registerDefinitions(webhook);
}
