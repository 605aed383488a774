import { readFileSync, renameSync, symlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { attempt } from '../../base/errors/index.ts';
import { closeFd, openPipe } from '../../base/kernel/index.ts';
import { sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { signalProcess } from '../processes/processes.ts';
import { configurationPipe, startMonitor } from './conmon.ts';
import { monitorFailed } from './failures.ts';
import type { MonitorInput, StartedMonitor, WaitingMonitor } from './conmon.ts';

const config = 'config.json';

/** The name, in the bundle of a prepared monitor, of the configuration until the container is created. */
export const nextConfig = 'config.next.json';

/** The files that conmon and this module make in a bundle before the container is created. */
const madeFiles = [config, 'ctl', 'winsz', 'attach', 'monitor.pid', 'init.pid', 'exit'];

const endMs = 2_000;
const SIGKILL = 9;

/** A conmon whose runtime has been started and waits for the configuration of the container. */
export interface PreparedMonitor extends WaitingMonitor {
  /** Whether conmon still waits. It ends with its runtime. */
  isAlive(): boolean;
}

/** Returns the paths of the files that {@link prepareMonitor} makes in a bundle. */
export function filesOfPrepared(bundle: string): string[] {
  return madeFiles.map((name) => join(bundle, name));
}

/**
 * Starts conmon and the runtime's `create` before there is a container. The runtime reads its configuration
 * before it does anything else, and the configuration is a link to a pipe that the runtime inherits.
 * `create` needs the complete configuration at {@link nextConfig}: it becomes the file `config.json`, which
 * the runtime copies later, and is sent to the runtime. If this process ends first, the pipe has no writer:
 * the runtime reads an empty configuration, and ends with an error, and conmon ends with the runtime. A FIFO
 * would not do that: a runtime that opens a FIFO without a writer waits for one.
 * @param input.bundle must exist and be empty
 * @throws PortcullisError RUNTIME_MONITOR_FAILED, and the errors of pipe2(2) and symlink(2)
 */
export async function prepareMonitor(input: MonitorInput): Promise<PreparedMonitor> {
  const { id, bundle } = input;
  const file = join(bundle, config);
  symlinkSync(`/proc/self/fd/${configurationPipe}`, file);
  const { read, write: fd } = openPipe();
  let monitor: StartedMonitor | undefined;
  let process: ProcessIdentity | undefined;
  try {
    monitor = await startMonitor({ ...input, configuration: read });
    process = await monitor.begin();
  } catch (cause) {
    closeFd(fd);
    monitor?.ignore();
    throw cause;
  } finally {
    closeFd(read);
  }
  const isAlive = (): boolean => {
    // A monitor whose state is not known, for example without free descriptors, is ended, and not used.
    return attempt(() => process !== undefined && sameProcess(process)) ?? false;
  };
  if (!isAlive()) {
    closeFd(fd);
    monitor.ignore();
    throw monitorFailed(id, 'conmon ended at once', 'check conmon with `portcullis doctor`');
  }
  let isUsed = false;
  return {
    isAlive,
    create: async (signal) => {
      isUsed = true;
      const socket = new Socket({ fd, readable: false, writable: true });
      // The report of conmon says why the runtime does not read.
      socket.on('error', () => undefined);
      try {
        renameSync(join(bundle, nextConfig), file);
        socket.end(readFileSync(file));
      } catch (cause) {
        socket.destroy();
        monitor.ignore();
        throw cause;
      }
      try {
        return await monitor.created(signal);
      } finally {
        socket.destroy();
      }
    },
    abandon: async () => {
      if (isUsed) return;
      isUsed = true;
      // First, because without a writer of the pipe both end, even if the signal cannot be sent.
      closeFd(fd);
      monitor.ignore();
      // The runtime dies with conmon, which has set its death signal.
      signalProcess(process, SIGKILL);
      for (let waited = 0; waited < endMs && isAlive(); waited += 5)
        await new Promise((resolve) => setTimeout(resolve, 5));
    },
  };
}
