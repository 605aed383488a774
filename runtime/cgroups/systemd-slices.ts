import type { StartProgram } from '../../base/reactor/index.ts';
import { runCommand } from '../processes/command.ts';

const systemctl = '/usr/bin/systemctl';

/**
 * Stops slices, deepest first, and waits until systemd has removed their cgroups. systemd creates a slice
 * when the first scope in it starts, and keeps it. The caller must know that no process runs in them, because
 * stopping a slice also stops its contents.
 * @param paths from the root of the hierarchy; only the last component, the name of a unit, is used
 * @throws PortcullisError RUNTIME_COMMAND_NOT_STARTED | RUNTIME_COMMAND_TIMEOUT
 */
export async function stopSlices(startProgram: StartProgram, paths: readonly string[]): Promise<void> {
  const units = [...paths].sort((a, b) => b.length - a.length).map((path) => path.split('/').at(-1) ?? '');
  // One call for each slice: a pod has one or two. A unit that systemd no longer knows is already removed, as
  // intended.
  for (const unit of units) await runCommand(startProgram, systemctl, ['stop', '--', unit]);
}
