import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { localFileSystems } from '../../base/kernel/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { startHelper } from './helper.ts';
import type { Helper } from './helper.ts';
import { createMountTable } from './mount-table.ts';
import type { LookUps } from './look-ups.ts';

/** How long a file system may take to answer. */
const answerMs = 5_000;
/** How long a question may wait for a free process. */
const turnMs = 15_000;
/** How long such a process may take to load. */
const openMs = 60_000;
/** Maximum number of processes at one time, including those that the kernel does not let end. */
const most = 4;
/**
 * How many of them may ask file systems that did not answer last time: the others are for file systems that
 * do.
 */
const mostSuspect = 2;
/** An unused process is ended after this time: each takes some 40 MB. */
const idleMs = 30_000;

/**
 * Processes that perform look-ups, started on demand. A look-up that takes too long ends its process; only
 * its own request fails.
 */
export interface Helpers {
  /**
   * @param place the path that is reported when there is no answer; with `subject`, questions with the same
   * subject are asked one after the other, else those about the file system of the path
   * @throws the error of the look-up; PortcullisError RUNTIME_PATH_NO_ANSWER, RUNTIME_PATH_UNKNOWN
   */
  ask<Name extends keyof LookUps>(
    place: string | { readonly path: string; readonly subject: string },
    call: Name,
    ...values: Parameters<LookUps[Name]>
  ): Promise<Awaited<ReturnType<LookUps[Name]>>>;
  close(): Promise<void>;
}

interface Asked {
  readonly path: string;
  /**
   * Questions about one subject are asked one after the other, so that a file system that does not answer
   * occupies one process.
   */
  readonly subject: string;
  readonly call: keyof LookUps;
  readonly values: readonly unknown[];
  readonly settle: PromiseWithResolvers<unknown>;
  turn?: NodeJS.Timeout;
}

/** The processes that look paths up. @param ended called when one of them has ended */
function createHelperPool(startProgram: StartProgram, ended: () => void) {
  /** All processes that have not ended. */
  const helpers = new Set<Helper>();
  const idle = new Map<Helper, NodeJS.Timeout>();
  let starting = 0;

  const take = async (): Promise<Helper> => {
    for (const [helper, timer] of idle) {
      clearTimeout(timer);
      idle.delete(helper);
      return helper;
    }
    starting += 1;
    try {
      const helper = await startHelper(startProgram);
      helpers.add(helper);
      void helper.exited.then(() => {
        helpers.delete(helper);
        clearTimeout(idle.get(helper));
        idle.delete(helper);
        ended();
      });
      return helper;
    } finally {
      starting -= 1;
    }
  };
  const putBack = (helper: Helper): void => {
    if (helpers.has(helper)) idle.set(helper, setTimeout(() => helper.kill(), idleMs).unref());
  };
  return { helpers, idle, take, putBack, starting: () => starting };
}

/** The caller closes the result. */
export function createHelpers(startProgram: StartProgram): Helpers {
  const pool = createHelperPool(startProgram, () => dispatch());
  const { helpers, idle } = pool;
  const waiting = new Set<Asked>();
  const busy = new Map<string, Asked>();
  /** Subjects that did not answer when they were last asked. */
  const suspects = new Set<string>();
  const mounts = createMountTable();
  let isClosed = false;

  const putBack = (helper: Helper): void => {
    if (isClosed) helper.kill();
    else pool.putBack(helper);
  };
  const fail = (asked: Asked, why: string): void => {
    waiting.delete(asked);
    clearTimeout(asked.turn);
    asked.settle.reject(noAnswer(asked, why));
  };

  const run = async (asked: Asked): Promise<void> => {
    let helper: Helper | undefined;
    try {
      helper = await pool.take();
      await within(helper.ready, openMs);
      const answer = await within(helper.ask(asked), answerMs);
      if (answer === late) {
        helper.kill();
        suspects.add(asked.subject);
        const why = `its file system (${asked.subject}) did not answer within ${answerMs / 1_000} s`;
        fail(asked, why);
        for (const other of [...waiting]) if (other.subject === asked.subject) fail(other, why);
        // A process that the kernel does not let end keeps its place, and so does its subject.
        await helper.exited;
      } else {
        suspects.delete(asked.subject);
        asked.settle.resolve(answer);
        putBack(helper);
      }
    } catch (thrown) {
      if (
        helper !== undefined &&
        (isPortcullisError(thrown) || (thrown as NodeJS.ErrnoException).code !== undefined)
      ) {
        suspects.delete(asked.subject);
        putBack(helper);
        asked.settle.reject(thrown);
      } else {
        helper?.kill();
        asked.settle.reject(unknown(asked, thrown));
      }
    } finally {
      busy.delete(asked.subject);
      dispatch();
    }
  };

  const dispatch = (): void => {
    for (const asked of [...waiting]) {
      if (busy.has(asked.subject)) continue;
      const held = [...busy.keys()].filter((subject) => suspects.has(subject)).length;
      if (suspects.has(asked.subject) && held >= mostSuspect) continue;
      if (idle.size === 0 && helpers.size + pool.starting() >= most) return;
      waiting.delete(asked);
      clearTimeout(asked.turn);
      busy.set(asked.subject, asked);
      void run(asked);
    }
  };

  // Each local path is a subject of its own: a path that leads elsewhere through a link delays no other.
  const subjectOf = async (path: string): Promise<string> => {
    const { target, fstype } = await mounts.mountOf(path);
    return localFileSystems.has(fstype) ? path : `mount ${target}`;
  };

  return {
    ask: async (place, call, ...values) => {
      const { path, subject } =
        typeof place === 'string' ? { path: place, subject: await subjectOf(place) } : place;
      if (isClosed) throw noAnswer({ path }, 'the daemon stops');
      const asked: Asked = { path, subject, call, values, settle: Promise.withResolvers() };
      waiting.add(asked);
      asked.turn = setTimeout(
        () => fail(asked, `other look-ups were not answered within ${turnMs / 1_000} s`),
        turnMs,
      );
      dispatch();
      return asked.settle.promise as never;
    },
    close: async () => {
      isClosed = true;
      for (const asked of [...waiting]) fail(asked, 'the daemon stops');
      for (const asked of busy.values()) fail(asked, 'the daemon stops');
      for (const helper of helpers) helper.kill();
      // A process that the kernel does not let end is gone when its file system answers.
      await within(Promise.all([...helpers].map(({ exited }) => exited)), 1_000);
    },
  };
}

const late = Symbol('late');

/** Returns the answer, or `late`. */
async function within<T>(answer: Promise<T>, ms: number): Promise<T | typeof late> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<typeof late>((resolve) => (timer = setTimeout(resolve, ms, late)));
  try {
    return await Promise.race([answer, limit]);
  } finally {
    clearTimeout(timer);
  }
}

function noAnswer({ path }: Pick<Asked, 'path'>, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_PATH_NO_ANSWER',
    kind: 'deadline',
    attempted: 'inspect host path',
    on: path.slice(0, 512),
    why,
    fix: 'check whether the server of that file system answers (`mount`, `ls` in the folder), or unmount it: `umount --lazy --force`',
  });
}

function unknown({ path }: Asked, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_PATH_UNKNOWN',
    kind: 'unavailable',
    attempted: 'inspect host path',
    on: path.slice(0, 512),
    why: reasonOf(cause),
    fix: 'check whether the machine has free memory and processes, and repeat the request',
    cause,
  });
}
