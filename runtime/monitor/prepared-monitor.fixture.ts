import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import { prepareMonitor } from './prepared-monitor.ts';

/** Prepares a monitor in a folder, writes a line, and stays until it is killed. */
const [folder = '', id = '', program = ''] = process.argv.slice(2);
const handler = { kind: 'crun', program, globalArgs: [] as readonly string[] };
await prepareMonitor({
  startProgram: programStarter(await startReactor(), await startKernelWorker()),
  ...{ conmon: '/usr/bin/conmon', id, bundle: `${folder}/bundle`, logPath: '', systemdCgroup: false },
  ...{ handler: handler as unknown as RuntimeHandler, folders: { exits: folder, attach: folder } },
  ...{ terminal: false, stdin: false, stdinOnce: false },
});
process.stdout.write('prepared\n');
setInterval(() => undefined, 60_000);
