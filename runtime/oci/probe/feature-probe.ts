import { readFile, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { parseJson } from '../../../base/json/index.ts';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../../base/storage/index.ts';
import type { RuntimeHandler } from '../runtime-handler.ts';
import { hasEverything, noFeatures } from '../handler-features.ts';
import type { HandlerFeatures } from '../handler-features.ts';
import { probeRuntime } from './probe.ts';
import type { ProbeDeps } from './probe.ts';

export interface FeatureProbe {
  /**
   * Starts to probe the handlers whose features are unknown, one after the other. Call this once, after the
   * leftovers of killed daemons are removed.
   */
  begin(): void;
  /** Returns the features of a handler; waits until it was probed. */
  of(handlerName: string): Promise<HandlerFeatures>;
  /**
   * Like `of`, for callers that cannot wait: after `ms` returns what is known so far, which is nothing at the
   * very first start.
   */
  within(handlerName: string, ms: number): Promise<HandlerFeatures>;
  /**
   * Throws if the handler does not support user namespaces.
   * @throws PortcullisError RUNTIME_NO_USER_NAMESPACES, before anything is created for a pod
   */
  requireUserNamespaces(handlerName: string): Promise<void>;
  /** Waits for a running probe. */
  close(): Promise<void>;
}

interface Seen {
  /** The program and the kernel with which the features were observed. */
  readonly key: string;
  readonly features: HandlerFeatures;
}

/**
 * Probes each runtime once and keeps the result below `root`, by program and kernel, so that a start is not
 * delayed. A missing feature is probed again at the next start, because a setting of the host may have
 * changed.
 * @param input.handlers by name; the empty name is the default one
 */
export async function openFeatureProbe(
  input: ProbeDeps & {
    readonly handlers: ReadonlyMap<string, RuntimeHandler>;
    readonly root: string;
    readonly log: Logger;
  },
): Promise<FeatureProbe> {
  const { handlers, log } = input;
  const file = fileIn(input.root);
  await dropAbandonedWrites(file).catch((cause: unknown) =>
    log.warn({ cause: reasonOf(cause) }, 'the temporary file of an interrupted write remains'),
  );
  const byPath = new Map([...handlers.values()].map((handler) => [handler.path, handler]));
  const kept = await readKept(file);
  const known = new Map<string, HandlerFeatures>();
  const keys = new Map<string, string>();
  for (const handler of byPath.values()) {
    const key = await keyOf(handler, input.layers);
    keys.set(handler.path, key);
    const seen = kept[handler.path];
    if (seen?.key === key) known.set(handler.path, seen.features);
  }
  let announce: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => (announce = resolve));
  const looks = new Map<string, Promise<HandlerFeatures>>();
  let last: Promise<unknown> = begun;
  let closing = false;

  const look = async (handler: RuntimeHandler): Promise<HandlerFeatures> => {
    // A shim has no command line of an OCI runtime that could be probed.
    if (handler.tasks !== undefined) return { ...noFeatures, whyNoUserNamespaces: 'it is a shim' };
    if (closing) return known.get(handler.path) ?? noFeatures;
    const features = await probeRuntime(handler, input);
    known.set(handler.path, features);
    log.info({ handler: handler.name, ...features }, 'features of this runtime handler on this kernel');
    const all = Object.fromEntries(
      [...known].map(([path, one]) => [path, { key: keys.get(path) ?? '', features: one }]),
    );
    await writeFileAtomic(file, `${JSON.stringify(all, undefined, 2)}\n`).catch((cause: unknown) =>
      log.warn(
        { cause: reasonOf(cause) },
        'the features of the runtime handlers are not saved, and are probed again at the next start',
      ),
    );
    return features;
  };
  for (const handler of byPath.values()) {
    const before = known.get(handler.path);
    if (before !== undefined && hasEverything(before)) {
      looks.set(handler.path, Promise.resolve(before));
      continue;
    }
    const turn = last
      .then(() => look(handler))
      .catch((cause: unknown) => {
        log.warn(
          { handler: handler.name, cause: reasonOf(cause) },
          'this runtime handler could not be probed',
        );
        return known.get(handler.path) ?? noFeatures;
      });
    looks.set(handler.path, turn);
    last = turn;
  }

  const pathOf = (name: string): string => handlers.get(name)?.path ?? '';
  const of = (name: string): Promise<HandlerFeatures> =>
    looks.get(pathOf(name)) ?? Promise.resolve(noFeatures);
  return {
    begin: announce,
    of,
    within: async (name, ms) => {
      const cached = known.get(pathOf(name));
      if (cached !== undefined) return cached;
      let timer: NodeJS.Timeout | undefined;
      const patience = new Promise<HandlerFeatures>(
        (resolve) => (timer = setTimeout(resolve, ms, noFeatures)),
      );
      const answer = await Promise.race([of(name), patience]);
      clearTimeout(timer);
      return answer;
    },
    requireUserNamespaces: async (name) => {
      const features = await of(name);
      if (!features.userNamespaces)
        throw noUserNamespaces(handlers.get(name)?.name ?? name, features.whyNoUserNamespaces);
    },
    close: async () => {
      closing = true;
      announce();
      await last;
    },
  };
}

/**
 * Returns the features that a daemon with this root folder saw at its latest probe, by the path of the
 * program. Returns an empty record if it saw none.
 */
export async function readHandlerFeatures(root: string): Promise<Readonly<Record<string, HandlerFeatures>>> {
  const kept = await readKept(fileIn(root));
  return Object.fromEntries(
    Object.entries(kept).flatMap(([path, seen]) => (seen === undefined ? [] : [[path, seen.features]])),
  );
}

function fileIn(root: string): string {
  return join(root, 'handler-features.json');
}

/** Increase this when a probe tests more features than before. */
const questions = 2;

async function keyOf(handler: RuntimeHandler, layers: string): Promise<string> {
  const [program, store] = await Promise.all([stat(handler.path), stat(layers)]);
  return [questions, handler.path, program.size, program.mtimeMs, handler.version, release(), store.dev].join(
    ' ',
  );
}

async function readKept(file: string): Promise<Readonly<Record<string, Seen | undefined>>> {
  try {
    const kept = parseJson(await readFile(file, 'utf8')) as Record<string, Seen> | null;
    return kept ?? {};
  } catch {
    return {};
  }
}

function noUserNamespaces(handler: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_NO_USER_NAMESPACES',
    kind: 'precondition',
    attempted: 'give a pod a user namespace with runtime handler',
    on: handler,
    why,
    fix: 'use a handler that has them (runc 1.2 or crun 1.8 and later, Linux 5.19 and later, images on ext4, xfs or btrfs), or run the pod with `hostUsers: true`',
  });
}
