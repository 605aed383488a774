import type { Command } from 'commander';
import { openRegistries } from '../../trust/index.ts';
import type { RegistryAccess } from '../../trust/index.ts';
import { run } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';

export interface RegistryFlags {
  readonly registryMirror: readonly string[];
  readonly insecureRegistry: readonly string[];
}

const credentialsHelp = `
Credentials of registries: those of "podman login" or "docker login", in containers/auth.json (below $XDG_RUNTIME_DIR, /run and
$XDG_CONFIG_HOME) and ~/.docker/config.json ($DOCKER_CONFIG), with their credential helpers. $REGISTRY_AUTH_FILE names the only file to read.`;

/**
 * Adds the options of every command that accesses a registry itself, and help on where credentials come from.
 */
export function withRegistries(command: Command): Command {
  return command
    .option(
      '--registry-mirror <host=url>',
      'send requests to this URL instead of the host; may be repeated',
      collect,
      [],
    )
    .option('--insecure-registry <host>', 'allow plain HTTP to this host; may be repeated', collect, [])
    .addHelpText('after', credentialsHelp);
}

/** Makes an option repeatable. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** Runs a command with access to registries, which ends with the command. */
export function withRegistry(
  flags: RegistryFlags & { readonly output: OutputFormat },
  body: (registry: RegistryAccess) => Promise<number>,
): Promise<void> {
  return run(flags.output, async () => {
    const registry = await openRegistries({
      mirrors: flags.registryMirror,
      insecureHosts: flags.insecureRegistry,
    });
    try {
      return await body(registry);
    } finally {
      await registry.close();
    }
  });
}
