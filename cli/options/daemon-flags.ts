import { Option } from 'commander';
import type { Command } from 'commander';
import { configFlags } from '../../runtime/launch.ts';

/** Values of the daemon's flags as given, by flag name. */
export type DaemonFlags = Readonly<Record<string, readonly string[]>>;

/** Adds the flags that set keys of the daemon's configuration. */
export function withDaemonFlags(command: Command): Command {
  for (const flag of configFlags) {
    const option = new Option(
      `${flag.name} <${flag.value.toLowerCase()}>`,
      flag.repeatable ? `${flag.help}; may be repeated` : flag.help,
    );
    command.addOption(
      option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value]),
    );
  }
  return command;
}

/** Returns the daemon's flags among the options that commander parsed. */
export function daemonFlagsOf(options: Readonly<Record<string, unknown>>): DaemonFlags {
  const flags: Record<string, readonly string[]> = {};
  for (const flag of configFlags) {
    const given = options[optionKey(flag.name)];
    if (Array.isArray(given)) flags[flag.name] = given as readonly string[];
  }
  return flags;
}

/** `--cni-conf-dir` → `cniConfDir`, as commander does. */
function optionKey(name: string): string {
  return name.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
