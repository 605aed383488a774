import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { DaemonConfig } from '../config/types.ts';
import { openRuntimeHandler, refuseVulnerable } from './runtime-handler.ts';
import type { RuntimeHandler } from './runtime-handler.ts';

/**
 * Returns every configured handler that answers, by name. The default handler is also listed under the empty
 * name.
 */
export async function openHandlers(
  config: DaemonConfig,
  startProgram: StartProgram,
  stateDir: string,
  log: Logger,
): Promise<ReadonlyMap<string, RuntimeHandler>> {
  const open = async (name: string, path: string): Promise<readonly [string, RuntimeHandler] | undefined> => {
    const own = join(stateDir, name);
    await mkdir(own, { recursive: true, mode: 0o700 });
    try {
      const handler = await openRuntimeHandler({ startProgram, name, path, stateDir: own });
      if (config.strict) refuseVulnerable(handler);
      return [name, handler];
    } catch (cause) {
      if (name === config.defaultRuntime) throw cause;
      log.warn({ handler: name, path, cause: reasonOf(cause) }, 'this runtime handler cannot be used');
      return undefined;
    }
  };
  // Asks each handler for its version, which takes tens of milliseconds.
  const opened = await Promise.all(
    Object.entries(config.runtimes).map(([name, { path }]) => open(name, path)),
  );
  const handlers = new Map(opened.filter((each) => each !== undefined));
  const byDefault = handlers.get(config.defaultRuntime);
  if (byDefault !== undefined) handlers.set('', byDefault);
  return handlers;
}
