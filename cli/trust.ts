import type { Command } from 'commander';
import { registerServe } from './trust/serve.ts';

/** `portcullis trust`: its parts are files of `trust/`. */
export function register(program: Command): void {
  const trust = program.command('trust').description('the trust service, and signed collections: which digest a tag means');
  registerServe(trust);
}
