import type { Command } from 'commander';

export interface RegistryFlags {
  readonly registryMirror: readonly string[];
  readonly insecureRegistry: readonly string[];
}

/** Adds the options of every command that accesses a registry itself. */
export function withRegistries(command: Command): Command {
  return command
    .option('--registry-mirror <host=url>', 'send requests to this URL instead of the host; may be repeated', collect, [])
    .option('--insecure-registry <host>', 'allow plain HTTP to this host; may be repeated', collect, []);
}

/** Makes an option repeatable. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}
