import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { DaemonConfig, RuntimeConfig } from '../config/types.ts';
import { askRuntime, openRuntimeHandler, refuseVulnerable } from './runtime-handler.ts';
import type { RuntimeHandler } from './runtime-handler.ts';
import { openShimHandler, runtimeBehindShim } from './shim-handler.ts';
import { openEventSink } from '../shim/event-sink.ts';

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
  const events = openEventSink(startProgram, config.state, join(config.state, 'shims'));
  const openOne = async (
    name: string,
    { type, ...runtime }: RuntimeConfig,
    own: string,
  ): Promise<RuntimeHandler> => {
    if (type === 'shim') {
      await mkdir(join(own, 'tasks'), { recursive: true, mode: 0o700 });
      const bundle = (id: string): string => join(config.state, 'containers', id);
      const shim = await openShimHandler({
        ...{ startProgram, name, config: runtime, stateDir: own, bundle, events, log },
      });
      if (config.strict) await refuseVulnerableBehind(startProgram, shim, runtime);
      return shim;
    }
    const { path, writableCgroups } = runtime;
    const handler = await openRuntimeHandler({ startProgram, name, path, stateDir: own, writableCgroups });
    if (config.strict) refuseVulnerable(handler);
    return handler;
  };
  const open = async (
    name: string,
    runtime: RuntimeConfig,
  ): Promise<readonly [string, RuntimeHandler] | undefined> => {
    const own = join(stateDir, name);
    await mkdir(own, { recursive: true, mode: 0o700 });
    try {
      return [name, await openOne(name, runtime, own)];
    } catch (cause) {
      if (name === config.defaultRuntime) throw cause;
      log.warn(
        { handler: name, path: runtime.path, cause: reasonOf(cause) },
        'this runtime handler cannot be used',
      );
      return undefined;
    }
  };
  // Each handler is asked for its version, which takes tens of milliseconds.
  const opened = await Promise.all(
    Object.entries(config.runtimes).map(([name, runtime]) => open(name, runtime)),
  );
  const handlers = new Map(opened.filter((each) => each !== undefined));
  const byDefault = handlers.get(config.defaultRuntime);
  if (byDefault !== undefined) handlers.set('', byDefault);
  return handlers;
}

/** A shim runs containers with an OCI runtime, whose vulnerabilities are its own. */
async function refuseVulnerableBehind(
  startProgram: StartProgram,
  { name }: RuntimeHandler,
  runtime: RuntimeConfig,
): Promise<void> {
  const path = runtimeBehindShim(runtime);
  if (path !== undefined) refuseVulnerable({ name, path, ...(await askRuntime(startProgram, name, path)) });
}
