import { Command, CommanderError } from 'commander';
import manifest from '../package.json' with { type: 'json' };

/** A command's module is loaded only when that command runs: the list below is all that help needs. */
interface Entry {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<{ register(program: Command): void }>;
}

const commands: readonly Entry[] = [
  { name: 'quickstart', summary: 'the whole story on an embedded registry', load: () => import('./quickstart.ts') },
  { name: 'doctor', summary: 'say what this machine has, what is degraded and why', load: () => import('./doctor.ts') },
  { name: 'daemon', summary: 'serve the CRI endpoint (portcullisd)', load: () => import('./daemon.ts') },
  { name: 'sign', summary: 'sign an image with a key, or make such a key', load: () => import('./sign.ts') },
  { name: 'verify', summary: 'verify an image by a policy or a key', load: () => import('./verify.ts') },
  { name: 'policy', summary: 'write, check and explain trust policies', load: () => import('./policy.ts') },
  { name: 'pods', summary: 'list pods', load: () => import('./pods.ts') },
  { name: 'ps', summary: 'list containers', load: () => import('./ps.ts') },
  { name: 'logs', summary: "print a container's log", load: () => import('./logs.ts') },
  { name: 'exec', summary: 'run a command in a container', load: () => import('./exec.ts') },
];

const wrongUse = 2;

const program = new Command('portcullis')
  .description(manifest.description)
  .version(manifest.version)
  .enablePositionalOptions()
  .exitOverride()
  .showHelpAfterError('(--help says more)')
  .addHelpText(
    'after',
    '\nExamples:\n  portcullis quickstart            the whole story, on this machine\n  portcullis daemon --help         how to serve a kubelet\n',
  );

// `help sign` and `sign --help` are the same.
const words = process.argv.slice(2).filter((word) => !word.startsWith('-'));
const wanted = words[0] === 'help' ? words[1] : words[0];
for (const { name, summary, load } of commands) {
  if (name === wanted) (await load()).register(program);
  else program.command(name).description(summary);
}

try {
  await program.parseAsync();
} catch (thrown) {
  if (!(thrown instanceof CommanderError)) throw thrown;
  // commander has said already what is wrong.
  process.exitCode = thrown.exitCode === 0 ? 0 : wrongUse;
}
