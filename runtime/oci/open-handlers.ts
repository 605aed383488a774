import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { DaemonConfig } from '../config/types.ts';
import { openRuntimeHandler, refuseVulnerable } from './runtime-handler.ts';
import type { RuntimeHandler } from './runtime-handler.ts';

/** Every configured handler that answers, by name, and the default one under the empty name as well. */
export async function openHandlers(
  config: DaemonConfig,
  startProgram: StartProgram,
  stateDir: string,
  log: Logger,
): Promise<ReadonlyMap<string, RuntimeHandler>> {
  const handlers = new Map<string, RuntimeHandler>();
  for (const [name, { path }] of Object.entries(config.runtimes)) {
    const own = join(stateDir, name);
    await mkdir(own, { recursive: true, mode: 0o700 });
    try {
      const handler = await openRuntimeHandler({ startProgram, name, path, stateDir: own });
      if (config.strict) refuseVulnerable(handler);
      handlers.set(name, handler);
    } catch (cause) {
      if (name === config.defaultRuntime) throw cause;
      log.warn({ handler: name, path, cause: reasonOf(cause) }, 'this runtime handler can not be used');
    }
  }
  const byDefault = handlers.get(config.defaultRuntime);
  if (byDefault !== undefined) handlers.set('', byDefault);
  return handlers;
}
