import type { StartProgram } from '../../base/reactor/index.ts';
import { runCommand } from './command.ts';

const systemctl = '/usr/bin/systemctl';

/**
 * Ends slices, deepest first, and waits until systemd has removed their cgroups. systemd makes a slice when the first scope in it
 * starts, and keeps it. The caller knows that nothing runs in them: ending a slice ends what it holds.
 * @param paths from the root of the hierarchy; only the last part of each, a unit's name, counts
 * @throws PortcullisError RUNTIME_COMMAND_NOT_STARTED | RUNTIME_COMMAND_TIMEOUT
 */
export async function stopSlices(startProgram: StartProgram, paths: readonly string[]): Promise<void> {
  const units = [...paths].sort((a, b) => b.length - a.length).map((path) => path.split('/').at(-1) ?? '');
  // One call each: a pod has one or two of its own. One that systemd does not know any more is gone, which was wanted.
  for (const unit of units) await runCommand(startProgram, systemctl, ['stop', '--', unit]);
}
