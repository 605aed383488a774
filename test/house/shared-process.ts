import { existsSync, readFileSync } from 'node:fs';

/** Files that one process runs, one after another. */
export type TestProcess = readonly string[];

/** A process with more files takes longer than others, and repeats more tests after a failure. */
const mostFiles = 16;

/**
 * Matches the text of tests that change or observe their whole process, start threads or a daemon, or measure
 * processor time or memory: state, load and garbage of other tests would disturb them.
 */
const wholeProcess = new RegExp(
  [
    String.raw`(?<!\.)\bprocess\.(?!(?:fixture|pid|platform|arch|execPath|cwd|gete?[ug]id|argv|kill|stdout)\b)(?!on(?:ce)?\('exit')(?!env\['\w+'\](?! (?:\?\?|\|\|)?=(?!=)))\w|delete process\.env`,
    String.raw`worker_threads|[wW]orkers?\(|\.worker\b`,
    // A number after /proc/self/fd is a file of the test. Without one, the test lists all files.
    String.raw`\b(?:unshare|setns)\w*\(|/proc/self/(?:fd\b(?!/)|fdinfo|task|stat|s?maps|limits)|memoryUsage|eventLoop|node:v8|(?<![.\w])gc\(|watchdog`,
    // Mocks of a test's context end with the test.
    String.raw`globalThis|(?<!\.)\bmock\.|setDefault|defaultMaxListeners|diagnostics_channel`,
    'fixtures/(?:private-namespaces|cost|daemon|stage|pod|etcd|dockerd)',
  ].join('|'),
  'u',
);

/** Returns whether a test with this text can run in one process with others. */
export function canShareProcess(text: string): boolean {
  return !wholeProcess.test(text);
}

/**
 * Returns whether a test can use peers: it names their folder, or uses fixtures, some of which start them.
 * @param file relative to the root
 */
export function canUsePeers(file: string, text: string): boolean {
  return file.startsWith('test/') || /fixtures|tools\.ts|PEERS|portcullis-peers/u.test(text);
}

/** Returns a process for each file. */
export const separately = (files: readonly string[]): readonly TestProcess[] => files.map((file) => [file]);

/**
 * Returns the processes that run all files, in the order of their first files. Files of the same folder, or
 * of the same folder of a module, share a process, if they can: a process loads the modules that they test
 * once, which takes longer than most of these tests. Processes of the same module with few files are joined.
 * Below test/, only the files of test/house share processes: most others start programs.
 */
export function inSharedProcesses(
  files: readonly string[],
  read: (file: string) => string = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : ''),
): readonly TestProcess[] {
  const processes: string[][] = [];
  const open = new Map<string, string[]>();
  const waits = new Set<TestProcess>();
  for (const file of files) {
    const folder = file.split('/').slice(0, 2).join('/');
    const shared = open.get(folder);
    const text = read(file);
    let own = [file];
    if (!canShareProcess(text) || (folder.startsWith('test/') && folder !== 'test/house'))
      processes.push(own);
    else if (shared !== undefined && shared.length < mostFiles) (own = shared).push(file);
    else {
      open.set(folder, own);
      processes.push(own);
    }
    if (canUsePeers(file, text)) waits.add(own);
  }
  return joined(processes, new Set(open.values()), waits);
}

/**
 * @param open the processes that have room for further files
 * @param waits the processes that begin only when the peers exist: others do not wait with them
 */
function joined(
  processes: readonly string[][],
  open: ReadonlySet<string[]>,
  waits: ReadonlySet<TestProcess>,
): readonly TestProcess[] {
  const ofModules = new Map<string, string[][]>();
  return processes.filter((files) => {
    const [file = ''] = files;
    if (!open.has(files)) return true;
    const kind = `${file.slice(0, file.indexOf('/'))} ${waits.has(files)}`;
    const others = ofModules.get(kind) ?? [];
    ofModules.set(kind, others);
    const shared = others.find(({ length }) => length + files.length <= mostFiles);
    if (shared === undefined) others.push(files);
    else shared.push(...files);
    return shared === undefined;
  });
}
