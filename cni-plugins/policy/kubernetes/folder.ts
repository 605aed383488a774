import { startWorker } from '../../../base/process/index.ts';
import { createFileReader, readerLimits } from '../../followed-files/file-reader.ts';
import { createFolderLook } from '../../followed-files/folder-look.ts';
import { createHeldFiles } from '../../followed-files/last-good-files.ts';
import { openSetStore } from '../../followed-files/stored-set.ts';
import { limits } from './documents.ts';
import { join } from './join.ts';
import type { FileReading } from './join.ts';
import type { PolicySet } from './network-policy.ts';

/** The folder of policies, which is followed while the engine runs. */
export interface PolicyFolder {
  /**
   * Checks the folder. Returns the set in force: the same object as long as it does not change.
   */
  current(): PolicySet;
  report(): PolicyReport;
  close(): void;
}

export interface PolicyReport {
  /** Number of policies in force. */
  readonly policies: number;
  /** Parts that are not in force as written, each with its place and what applies instead. */
  readonly problems: readonly string[];
}

export interface PolicyFolderOptions {
  /** Empty: there are no policies. A missing folder means none, unless there were some before. */
  readonly folder: string;
  /**
   * Returns where it can be read now. When it throws, the last policies stay in force. Default: the folder
   * itself.
   */
  readonly at?: () => string;
  /** File that stores the set in force. */
  readonly storedAt: string;
  readonly log: { error(fields: object, message: string): void; info(fields: object, message: string): void };
  /** How long a file must have been unchanged before it is read, in ms. */
  readonly quietMs?: number;
}

const usualQuietMs = 400;
/** A start waits for files that are being written or read, but no longer. */
const startMs = 30_000;
const startLookMs = 25;
/** Number of problems that are reported: a reader corrects the first ones first. */
const mostProblems = 200;
/** Changes with the meaning of {@link FileReading}. */
const format = 'portcullis-network-policies 1';

/**
 * Opens the folder of policies.
 * - A file is read when it is quiet, and applied as a whole. A file that is empty, half written or not a list
 *   of policies is a problem, and its last valid version stays in force. A file that is removed from the
 *   folder, and stays away, takes its policies with it.
 * - A folder that is missing, cannot be listed, holds more than is read, or was replaced by an empty one (its
 *   mount is gone) changes nothing.
 * - The set in force is stored on disk. While it is unknown (at the first start, or when the stored set is
 *   damaged), every pod is isolated until all files can be read. At the first start, a file that was already
 *   empty has no valid version to lose: it isolates no pod.
 * @returns once all files were checked, or after 30 s
 */
export async function openPolicyFolder(options: PolicyFolderOptions): Promise<PolicyFolder> {
  const { folder, at, storedAt, log, quietMs = usualQuietMs } = options;
  const none: PolicySet = { policies: [], namespaces: new Map() };
  if (folder === '')
    return {
      current: () => none,
      report: () => ({ policies: 0, problems: [] }),
      close: () => undefined,
    };

  const store = openSetStore<FileReading>({ path: storedAt, format, what: 'NetworkPolicies', log });
  const stored = store.last();
  const reader = createFileReader<FileReading>(() =>
    startWorker(import.meta.url, './policy-files.worker.ts', { resourceLimits: readerLimits }),
  );
  const files = createHeldFiles(reader, folder, quietMs);
  let identity = '';
  /** Why every pod is isolated; undefined when the set in force is known. */
  let unknown: string | undefined = 'NetworkPolicies that were not read yet';
  let lost = '';
  if (stored === 'damaged') {
    unknown = 'NetworkPolicies that are lost';
    lost = `${storedAt} is damaged: every pod is isolated until the files of ${folder} are read; if there should be no policies, remove this file`;
  } else if (stored?.folder === folder) {
    unknown = undefined;
    ({ identity } = stored);
    files.load(stored.files);
  }
  let set: PolicySet = none;
  let report: PolicyReport = { policies: 0, problems: [] };
  let [reported, reportedProblems] = ['', ''];

  const whole = createFolderLook(files, {
    folder,
    ...(at && { at }),
    limits,
    identity,
    what: 'policies',
    none: 'write a List with `items: []`',
  });

  const settle = (problem: string | undefined): void => {
    // A folder that never existed has no policies.
    const areKnown = stored === undefined ? files.areKnown() : files.problems().length === 0;
    if (problem === '' || (problem === undefined && !files.isWaiting() && areKnown))
      [unknown, lost] = [undefined, ''];
    const joined = join(files.readings());
    const unread = files.problems();
    const isolated =
      unknown === undefined
        ? undefined
        : unread.length > 0
          ? 'NetworkPolicy files that cannot be read'
          : unknown;
    const next: PolicySet = { ...joined.set, ...(isolated !== undefined && { isolated }) };
    const problems = [...new Set([problem ?? '', lost, ...unread, ...joined.problems])]
      .filter((each) => each !== '')
      .slice(0, mostProblems);
    report = { policies: next.policies.length, problems };
    if (problems.join('\n') !== reportedProblems) {
      reportedProblems = problems.join('\n');
      if (problems.length > 0)
        log.error({ folder, problems }, 'some NetworkPolicies are not in force as they are written');
    }
    const now = JSON.stringify([next.policies, [...next.namespaces], isolated]);
    if (now !== reported) {
      [reported, set] = [now, next];
      log.info(
        { folder, policies: next.policies.length, ...(isolated !== undefined && { isolated }) },
        'NetworkPolicies are in force',
      );
    }
    if (unknown === undefined) store.keep({ folder, identity: whole.identity(), files: files.held() });
  };

  let revision = -1;
  const step = (): void => {
    const problem = whole.look(lost);
    // Most checks find nothing new.
    const now = files.revision();
    if (revision === now && problem === lastProblem && !files.isWaiting() && store.isKept()) return;
    [revision, lastProblem] = [now, problem];
    settle(problem);
  };
  let lastProblem: string | undefined;

  step();
  for (const end = performance.now() + startMs; files.isWaiting() && performance.now() < end; step())
    await new Promise((resolve) => setTimeout(resolve, startLookMs));
  return {
    current: () => (step(), set),
    report: () => report,
    close: reader.close,
  };
}
