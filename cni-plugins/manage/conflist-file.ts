import { createHash, randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { failure, isPortcullisError, reasonOf, codeIs, tolerate } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { makeFolderSync, storageFailure } from '../../base/storage/index.ts';
import { networksIn } from '../networks/networks.ts';
import { dropAbandonedDrafts } from './abandoned-drafts.ts';
import { withFolderLock } from './folder-lock.ts';
import { documentOf } from './conflist-document.ts';
import { removeIdleBridges } from './host-links.ts';
import { invalid, refuseOverlapWith, refuseOwnAddress, refuseUnfit } from './new-network.ts';
import type { NewNetwork } from './new-network.ts';
import { defaultBridge, readNetworkReport } from './report.ts';
import type { ReportedNetwork, ReportSource } from './report.ts';
import { networkUnknown } from './connect-failures.ts';

/**
 * Longest name of a network. The name is part of file names, which have at most 255 bytes, together with the
 * pod's id and interface.
 */
const longestName = 150;

/** The configuration of a network that can be written. */
interface PlannedNetwork {
  readonly file: string;
  readonly text: string;
  readonly bridges: readonly string[];
}

/**
 * Refuses a network that no host could have together with these earlier ones. The networks and links of this
 * host do not matter.
 * @throws PortcullisError NETWORK_CONFLIST_INVALID · NETWORK_SUBNET_TAKEN
 */
export function refuseInvalid(wanted: NewNetwork, earlier: readonly NewNetwork[]): void {
  refuseName(wanted);
  refuseUnfit(wanted, []);
  refuseUnreadable(wanted.name, `${JSON.stringify(documentOf(wanted), null, 2)}\n`);
  refuseOverlapWith(wanted, earlier);
}

function refuseName(wanted: NewNetwork): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/u.test(wanted.name))
    throw invalid(
      wanted.name,
      'a name consists of letters, digits, _, . and -, and begins with a letter or digit',
    );
  if (wanted.name.length > longestName)
    throw invalid(wanted.name.slice(0, 20) + '…', `a name has ${longestName} characters at most`);
  if (!/^[a-zA-Z0-9_.]*$/u.test(wanted.order))
    throw invalid(wanted.name, `${JSON.stringify(wanted.order)} cannot begin the name of a file here`);
  if (wanted.internal && wanted.type !== 'bridge')
    throw invalid(wanted.name, 'only a network of the type bridge can be internal');
}

const none: ReadonlySet<string> = new Set();

/**
 * Returns the configuration that {@link createNetwork} would write, after the same checks.
 * @param replaced names of networks that will be gone or different by then, and do not matter
 * @throws the errors of {@link createNetwork}
 */
export function planNetwork(source: ReportSource, wanted: NewNetwork, replaced = none): PlannedNetwork {
  const { confDir } = source;
  refuseName(wanted);
  const all = readNetworkReport(source).networks;
  const networks = all.filter(({ name }) => !replaced.has(name));
  const gone = all.filter(({ name }) => replaced.has(name)).flatMap(({ bridges }) => bridges);
  const existing = networks.find(({ name, file }) => name === wanted.name && file !== undefined);
  if (existing !== undefined) throw exists(wanted.name, existing.file ?? confDir);
  refuseUnfit(wanted, networks);
  const chosen = linkChosen(wanted, networks);
  refuseOwnAddress(chosen, gone);
  const text = `${JSON.stringify(documentOf(chosen), null, 2)}\n`;
  refuseUnreadable(wanted.name, text);
  return {
    file: join(confDir, `${wanted.order}-${wanted.name}.conflist`),
    text,
    bridges: wanted.type === 'bridge' ? [chosen.link ?? defaultBridge] : [],
  };
}

/**
 * Writes a configuration of our plugins that this engine can read. The write is atomic and never overwrites
 * another file.
 * @returns the path of the file
 * @throws NETWORK_EXISTS · NETWORK_SUBNET_TAKEN · any error that reading the file throws
 */
export function createNetwork(source: ReportSource, wanted: NewNetwork): string {
  // A network that is refused creates no folder.
  planNetwork(source, wanted);
  makeFolderSync(source.confDir, 0o755);
  // Two commands at once would both find the same subnet free.
  return withFolderLock(source.confDir, () =>
    write(source.confDir, wanted.name, planNetwork(source, wanted)),
  );
}

function write(confDir: string, name: string, { file, text }: PlannedNetwork): string {
  dropAbandonedDrafts(confDir);
  // The draft has a folder of its own, inside the conf folder, so that one link call publishes the file.
  const draft = join(confDir, `.${randomUUID()}`);
  try {
    mkdirSync(draft, { mode: 0o700 });
    const written = join(draft, `${name}.conflist`);
    writeFileSync(written, text, { mode: 0o644, flush: true });
    try {
      linkSync(written, file);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'EEXIST') throw exists(name, file);
      throw thrown;
    }
  } catch (thrown) {
    throw storageFailure(thrown, `create the network ${name}`, file);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return file;
}

/**
 * Refuses a configuration that this engine could not read. It is checked in a place where no runtime reads
 * it.
 */
function refuseUnreadable(name: string, text: string): void {
  const draft = mkdtempSync(join(tmpdir(), 'portcullis-network-'));
  const written = join(draft, `${name}.conflist`);
  try {
    writeFileSync(written, text, { mode: 0o644 });
    networksIn(draft, { plugins: 'auto', maxConfigs: 1 });
  } catch (thrown) {
    if (!isPortcullisError(thrown)) throw storageFailure(thrown, 'write a temporary file', written);
    // The positions refer to the draft file, which the user never sees.
    throw invalid(
      name,
      reasonOf(thrown)
        .replaceAll(`${written}:`, '')
        .replaceAll(/^\d+:\d+: /gmu, ''),
    );
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

export interface RemovedNetwork {
  readonly file: string;
  /** Links of the host that were removed with the network. */
  readonly bridges: readonly string[];
}

/**
 * Removes a network and its bridges if our plugins created them and nothing else uses them.
 * @throws NETWORK_UNKNOWN · NETWORK_IN_USE · the kernel's refusal
 */
export function removeNetwork(source: ReportSource, name: string): RemovedNetwork {
  const network = requireNetwork(source, name);
  const { attachments, file } = network;
  if (attachments.length > 0) throw inUse(network);
  if (file === undefined) throw networkUnknown(name, source.confDir);
  unlinkSync(file);
  const used = new Set(readNetworkReport(source).networks.flatMap(({ bridges }) => bridges));
  return { file, bridges: removeIdleBridges(network.bridges.filter((bridge) => !used.has(bridge))) };
}

/**
 * Returns a network of the conf folder by its name.
 * @param report the report of `source`
 * @throws PortcullisError NETWORK_UNKNOWN
 */
export function requireNetwork(
  source: ReportSource,
  name: string,
  report = readNetworkReport(source),
): ReportedNetwork {
  const found = report.networks.find((network) => network.name === name);
  if (found === undefined) throw networkUnknown(name, source.confDir);
  return found;
}

/**
 * Returns the network that every pod gets: the first one of the folder. Returns undefined if the folder holds
 * no configuration.
 * @throws the other errors of reading the folder
 */
export function findPodNetwork({
  confDir,
  choice,
}: ReportSource): { readonly name: string; readonly file: string } | undefined {
  return tolerate(
    codeIs('NETWORK_NO_CONFLIST'),
    () => networksIn(confDir, { ...choice, maxConfigs: 1 }).networks[0],
  );
}

/**
 * Chooses the bridge. Two networks on one bridge would be a single network, so the second network gets a
 * bridge of its own.
 */
function linkChosen(wanted: NewNetwork, networks: readonly ReportedNetwork[]): NewNetwork {
  if (wanted.type !== 'bridge' || wanted.link !== undefined) return wanted;
  if (!networks.some(({ bridges }) => bridges.includes(defaultBridge))) return wanted;
  return { ...wanted, link: `pcbr-${createHash('sha256').update(wanted.name).digest('hex').slice(0, 10)}` };
}

function exists(name: string, file: string): PortcullisError {
  return failure(
    'NETWORK_EXISTS',
    'already-exists',
    `create the network ${name}`,
    file,
    'it already exists',
    'give another name',
  );
}

function inUse({ name, attachments }: ReportedNetwork): PortcullisError {
  const who = attachments
    .slice(0, 5)
    .map(
      ({ id, namespace, pod, connected }) =>
        connected ?? (pod === undefined ? id.slice(0, 13) : `${namespace ?? ''}/${pod}`),
    );
  const more = attachments.length > who.length ? ` and ${attachments.length - who.length} more` : '';
  return failure(
    'NETWORK_IN_USE',
    'precondition',
    'remove the network',
    name,
    `attached to it: ${who.join(', ')}${more}`,
    'stop these pods first, and disconnect all connected containers (portcullis network disconnect)',
  );
}
