/** Runs in its own namespaces (see run.ts): images, daemon, critest, summary. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { createCriClient } from '../../runtime/client.ts';
import { writeRun } from '../specification/events.ts';
import { beginJournal, readJournal } from '../specification/journal.ts';
import { peers, prepareNamespaces, serveSignedImages, slow, startDaemon } from './endpoint.ts';
import { leftByChain, linksLeft } from './left.ts';
import { formatSummary, summarise } from './report.ts';

const { values } = parseArgs({
  options: {
    focus: { type: 'string' },
    'keep-logs': { type: 'string' },
    runtime: { type: 'string' },
    websocket: { type: 'boolean' },
    plugins: { type: 'string' },
    /**
     * A file for the history of the daemon's records: `npm run test:spec -- --trace FILE` checks it against
     * the specification.
     */
    trace: { type: 'string' },
  },
});
/** Longer than any healthy run: a longer suite hangs, which is a failure. */
const limitMs = (slow ? 60 : 15) * 60_000;
const expected = JSON.parse(readFileSync(join(import.meta.dirname, 'expected.json'), 'utf8')) as {
  readonly passed: number;
  readonly websocket: number;
};

/**
 * The configuration selects a handler other than crun by its name, as NAME=PATH, or as NAME={…} with its
 * configuration in JSON. It selects third-party
 * CNI plugins by their folder; a chain of these programs then attaches the pods.
 */
function configuration(runtime: string | undefined, plugins: string | undefined): string[] {
  if (runtime === undefined && plugins === undefined) return [];
  const file = join(folder, 'config.yaml');
  const [name = '', handler] = (runtime ?? '').split(/=(.*)/s);
  const written = handler?.startsWith('{') === true ? handler : `{ path: ${handler} }`;
  const lines = [
    ...(runtime === undefined ? [] : [`defaultRuntime: ${name}`]),
    ...(handler === undefined ? [] : [`runtimes: { ${name}: ${written} }`]),
    ...(plugins === undefined
      ? []
      : [
          `network: { plugins: exec, cacheDir: ${join(folder, 'cni-cache')} }`,
          `cni: { binDirs: [${resolve(plugins)}] }`,
        ]),
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  return ['--config', file];
}

/** Returns the newest CNI version that the plugins in the folder support: they are all of one release. */
function newestOf(plugins: string): string {
  const environment = { ...process.env, CNI_COMMAND: 'VERSION' };
  const reported = execFileSync(join(plugins, 'bridge'), {
    env: environment,
    input: '{"cniVersion":"1.0.0"}',
    encoding: 'utf8',
  });
  const { supportedVersions } = JSON.parse(reported) as { readonly supportedVersions: readonly string[] };
  const newest = supportedVersions.at(-1) ?? '';
  console.log(`plugins of ${plugins}, by CNI ${newest}`);
  return newest;
}

prepareNamespaces();
const folder = mkdtempSync(join(tmpdir(), 'pc-conf-'));
// The root user of a pod with a user namespace must be able to pass through.
chmodSync(folder, 0o711);
const leases = join(folder, 'leases');
const reports = values['keep-logs'] ?? join(folder, 'report');
mkdirSync(reports, { recursive: true });
const images = await serveSignedImages(folder);
const daemon = await startDaemon(
  folder,
  images.policyFile,
  configuration(values.runtime, values.plugins),
  values.plugins === undefined ? {} : { chain: { cniVersion: newestOf(values.plugins), leases } },
);
console.log(`${images.images} images, each signed; daemon ${daemon.pid} answers on its socket`);
if (values.trace !== undefined) beginJournal(join(folder, 'root'));

const endpoint = `unix://${daemon.socket}`;
/** Runs critest once, prints the result, and returns whether it passed. */
async function runSuite(
  name: string,
  selected: string | undefined,
  options: readonly string[],
  atLeast: number,
): Promise<boolean> {
  const jsonReport = join(reports, `${name}.json`);
  const output = openSync(join(reports, `${name}.log`), 'w');
  const critest = spawn(
    join(peers, 'bin/critest'),
    [
      ...['-runtime-endpoint', endpoint, '-image-endpoint', endpoint, '-report-dir', reports, ...options],
      // The digest in that spec belongs to an image that cannot be built again; our own tests cover pulls by
      // digest.
      ...['-ginkgo.skip', 'public image with digest', '-ginkgo.json-report', jsonReport, '-ginkgo.no-color'],
      ...(selected === undefined ? [] : ['-ginkgo.focus', selected]),
    ],
    {
      stdio: ['ignore', output, output],
      env: { ...process.env, PATH: `${join(peers, 'bin')}:${process.env['PATH'] ?? ''}` },
    },
  );
  const timer = setTimeout(() => critest.kill('SIGKILL'), limitMs);
  const [code, signal] = (await once(critest, 'exit')) as [number | null, NodeJS.Signals | null];
  clearTimeout(timer);
  if (signal !== null) {
    console.log(`${name} hung and was ended after ${limitMs / 60_000} minutes`);
    return false;
  }
  const focus = selected === undefined ? undefined : new RegExp(selected);
  const summary = summarise(
    JSON.parse(readFileSync(jsonReport, 'utf8')),
    (spec) =>
      !spec.includes('public image with digest') &&
      (focus === undefined || focus.test(spec.replaceAll(' › ', ' '))),
  );
  console.log(formatSummary(summary));
  console.log(
    `${name}: ${summary.passed} passed, ${summary.failed} failed, ${summary.skipped} skipped; at least ${atLeast} must pass (critest exit ${String(code)})`,
  );
  if (summary.passed + summary.failed + summary.skipped === 0) {
    console.log(
      `${name}: no spec is called ${selected ?? 'so'}; see the names with: critest -ginkgo.dry-run -ginkgo.v`,
    );
    return false;
  }
  return (selected === undefined || summary.failed === 0) && summary.passed >= atLeast;
}

const webSocketOptions = ['-websocket-exec', '-websocket-attach', '-websocket-portforward'];
let ok = true;
if (values.websocket !== true)
  ok = await runSuite('critest', values.focus, [], values.focus === undefined ? expected.passed : 0);
// The same streams again over WebSocket, which no other endpoint that we know supports.
if (values.websocket === true || values.focus === undefined)
  ok =
    (await runSuite(
      'critest-websocket',
      values.focus ?? 'Streaming',
      webSocketOptions,
      values.focus === undefined ? expected.websocket : 0,
    )) && ok;

// Leftovers of a failed spec are removed as a kubelet removes them; after that nothing of the daemon may be
// left in the kernel.
const client = createCriClient(daemon.socket);
for (const { id } of (await client.runtime.listPodSandbox({})).items)
  await client.runtime.removePodSandbox({ podSandboxId: id });
client.close();
await daemon.stop();
if (values.trace !== undefined) writeRun(values.trace, readJournal(join(folder, 'root'), 'critest'));
await images.stop();
const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
const left = [
  ...mounts.filter((line) => line.includes(folder)),
  ...linksLeft(),
  ...(values.plugins === undefined ? [] : leftByChain(leases)),
];
for (const line of left) console.log(`left behind: ${line}`);
ok &&= left.length === 0;
if (!ok) console.log(readFileSync(join(folder, 'daemon.log'), 'utf8').split('\n').slice(-60).join('\n'));
if (values['keep-logs'] !== undefined) console.log(`logs: ${values['keep-logs']} and ${folder}`);
else rmSync(folder, { recursive: true, force: true });
process.exit(ok ? 0 : 1);
