import type { Command } from 'commander';
import { registerArchive } from './trust/archive.ts';
import { registerDelegate } from './trust/delegate.ts';
import { registerInit } from './trust/init.ts';
import { registerInspect } from './trust/inspect.ts';
import { registerPublish } from './trust/publish.ts';
import { registerRotate } from './trust/rotate.ts';
import { registerServe } from './trust/serve.ts';
import { registerTargets } from './trust/targets.ts';
import { registerUnstage } from './trust/unstage.ts';
import { registerWitness } from './trust/witness.ts';

/** `portcullis trust`: its subcommands are files in `trust/`. */
export function register(program: Command): void {
  const trust = program
    .command('trust')
    .description('run the trust service, and manage signed collections, which map tags to digests');
  registerServe(trust);
  registerInit(trust);
  registerTargets(trust);
  registerUnstage(trust);
  registerPublish(trust);
  registerInspect(trust);
  registerRotate(trust);
  registerDelegate(trust);
  registerWitness(trust);
  registerArchive(trust);
}
