import { readdir, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { failure, isPortcullisError } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import { createNetwork, planNetwork, readNetworkReport, removeNetwork } from '../../cni-plugins/index.ts';
import type { NewNetwork, ReportSource } from '../../cni-plugins/index.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { Change, Controller, Item, NodeState, Observed, WantedNetwork } from '../model/types.ts';

const cidr = { type: 'string', minLength: 3, maxLength: 49 } as const;
const name = '^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,149}$';
/** The part of the name of a file before the name of its network. It has no `-`, and names may have. */
const order = '^[a-zA-Z0-9_.]{0,20}$';
const orderForm = new RegExp(order, 'u');

/**
 * Networks of pods, as `portcullis network create` makes them.
 * @param source where network configurations are
 */
export function networkController(source: ReportSource): Controller {
  return {
    section: 'networks',
    after: ['kernelModules', 'sysctls'],
    foreign: 'exclusive',
    backsOff: false,
    schema: {
      type: 'array',
      description:
        'Networks of pods, as `portcullis network create` writes them. A network that pods are attached to is neither changed nor removed before they are gone.',
      maxItems: 100,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'subnets'],
        properties: {
          name: { type: 'string', pattern: name, description: 'Name of the network.' },
          type: {
            enum: ['bridge', 'ipvlan', 'macvlan', 'ptp'],
            description: 'The plugin that makes the interface of a pod. Default: `bridge`.',
          },
          subnets: {
            type: 'array',
            items: cidr,
            minItems: 1,
            maxItems: 16,
            description: 'Subnets. A pod gets an address from each.',
          },
          gateways: {
            type: 'array',
            items: cidr,
            maxItems: 16,
            description: 'Gateways of the subnets, in their order. Default: the first addresses.',
          },
          mtu: {
            type: 'integer',
            minimum: 68,
            maximum: 65_535,
            description: 'MTU of the interfaces of pods.',
          },
          link: {
            type: 'string',
            pattern: '^[^/\\s]{1,15}$',
            description: 'Bridge: its name. Macvlan and ipvlan: the link of the host.',
          },
          masquerade: {
            type: 'boolean',
            description: 'Packets that leave the subnets get the address of the host. Default: true.',
          },
          isolation: {
            type: 'boolean',
            description: 'Other isolated bridges cannot reach the pods of this bridge. Default: true.',
          },
          internal: {
            type: 'boolean',
            description: 'The pods of this bridge reach nothing outside it. Default: false.',
          },
          podNamespaces: {
            type: 'array',
            items: { type: 'string', maxLength: 63 },
            maxItems: 100,
            description: 'Namespaces whose pods may request the network by annotation; `*` for all.',
          },
          order: {
            type: 'string',
            pattern: order,
            description:
              'Prefix of the name of the file. Pods get the first network by file name. Default: `50`.',
          },
        },
      },
    },
    items: ({ networks }: NodeState) =>
      new Map(networks.map((network): [string, Item] => [network.name, itemOf(source, network)])),
    observe: (names) => observe(source, names),
    async apply({ action, name: changed, drift }: Change, state) {
      const wanted = state.networks.find((network) => network.name === changed);
      const foreign = foreignFileOf(changed, readNetworkReport(source));
      if (foreign !== undefined && action !== 'delete') throw takenBy(foreign, changed);
      // Without this plan, a network that this host cannot have would take away the former one.
      if (action === 'update' && wanted !== undefined)
        planNetwork(source, asCreated(wanted), await replacedBy(changed, state, source));
      if (action === 'update' && drift && wanted !== undefined) {
        // The request is the same: attached pods stay, and the file of their network gets its text again.
        for (const file of await filesOf(source, changed)) await unlink(file);
        createNetwork(source, asCreated(wanted));
        return;
      }
      if (action !== 'create') await removeOld(source, changed);
      if (action !== 'delete' && wanted !== undefined) createNetwork(source, asCreated(wanted));
    },
  };
}

/** A bridge without a name gets a generated name, so that its file depends only on the request. */
export const asCreated = ({ isolation, link, ...network }: WantedNetwork): NewNetwork => ({
  ...network,
  ...(link !== undefined || network.type !== 'bridge'
    ? link !== undefined && { link }
    : { link: `pcbr-${fingerprintOf(network.name).slice(0, 10)}` }),
  separated: isolation,
});

const known = new Map<string, string>();
/** The texts of a few states are cached, because planning writes a file for the reader of configurations. */
const mostKnown = 400;

function itemOf(source: ReportSource, network: WantedNetwork): Item {
  const fingerprint = fingerprintOf(network);
  const shown = `${network.type} ${network.subnets.join(' ')} [${fingerprint.slice(0, 8)}]`;
  const text = known.get(fingerprint) ?? textOf(source, network);
  if (known.size >= mostKnown) known.clear();
  if (text !== '') known.set(fingerprint, text);
  return { fingerprint, visible: fingerprintOf(text), shown };
}

/** Returns the text of the network's file; '' if it cannot be made, which creating it reports. */
function textOf(source: ReportSource, network: WantedNetwork): string {
  try {
    // The plan refuses a name that exists: in a folder that does not exist, no name does.
    const empty = { ...source, confDir: join(source.confDir, '.none') };
    return planNetwork(empty, asCreated(network)).text;
  } catch {
    return '';
  }
}

/** Whether the file can be one that we made: its name has a prefix and the name of the network. */
function isOwnForm(file: string, network: string): boolean {
  const [entry, end] = [basename(file), `-${network}.conflist`];
  return entry.endsWith(end) && orderForm.test(entry.slice(0, -end.length));
}

type Report = Pick<ReturnType<typeof readNetworkReport>, 'networks'>;

/** Returns the file of somebody else that has a network of this name; undefined: there is none. */
const foreignFileOf = (network: string, { networks }: Report): string | undefined =>
  networks.find(({ name: one, file }) => one === network && file !== undefined && !isOwnForm(file, network))
    ?.file;

/** Returns the changed network, and those of the state that will change because they differ from it. */
async function replacedBy(
  changed: string,
  { networks }: NodeState,
  source: ReportSource,
): Promise<ReadonlySet<string>> {
  const seen = await observe(source, new Set(networks.map(({ name: one }) => one)));
  const differing = networks.filter((network) => {
    const there = seen.get(network.name);
    return there?.foreign === undefined && there?.visible !== itemOf(source, network).visible;
  });
  return new Set([changed, ...differing.map(({ name: one }) => one)]);
}

const takenBy = (file: string, network: string) =>
  failure(
    'NODE_STATE_CHANGE_REFUSED',
    'precondition',
    'write the network',
    network,
    `the file ${file}, which \`portcullis node apply\` did not make, has a network of this name`,
    'remove that file, or remove the network from the state',
  );

/**
 * Returns the files of the network's name, also those that cannot be read as a network any more. Another
 * network may have a name or a file that ends with this name: its file is not returned.
 */
async function filesOf(
  source: ReportSource,
  network: string,
  { networks }: Report = readNetworkReport(source),
): Promise<readonly string[]> {
  const isOwn = (file: string | undefined): file is string => file !== undefined && isOwnForm(file, network);
  const own = networks.find((one) => one.name === network && isOwn(one.file))?.file;
  if (own !== undefined) return [own];
  const ofOthers = new Set(networks.map(({ file }) => file));
  const entries = await readdir(source.confDir).catch(() => [] as string[]);
  return entries
    .map((entry) => join(source.confDir, entry))
    .filter((file) => isOwn(file) && !ofOthers.has(file));
}

async function observe(
  source: ReportSource,
  names: ReadonlySet<string>,
): Promise<ReadonlyMap<string, Observed>> {
  const found = new Map<string, Observed>();
  const report = names.size === 0 ? { networks: [] } : readNetworkReport(source);
  for (const network of names) {
    const foreign = foreignFileOf(network, report);
    const [file] = await filesOf(source, network, report);
    const why = foreign && { foreign: takenBy(foreign, network).failure.why };
    if (file === undefined) {
      if (foreign !== undefined) found.set(network, { visible: '', shown: foreign, ...why });
      continue;
    }
    const visible = fingerprintOf((await readPlainFile(file, mostBytes)).toString());
    found.set(network, { visible, shown: `${file} [${visible.slice(0, 8)}]`, ...why });
  }
  return found;
}

/** Removes a network of ours, also when its file can no longer be read as one. */
async function removeOld(source: ReportSource, network: string): Promise<void> {
  const isTaken = foreignFileOf(network, readNetworkReport(source)) !== undefined;
  try {
    // Without our file, the network and the attached pods are those of the other file.
    if (!isTaken) return void removeNetwork(source, network);
  } catch (thrown) {
    if (!isPortcullisError(thrown) || thrown.code !== 'NETWORK_UNKNOWN') throw thrown;
  }
  for (const file of await filesOf(source, network)) await unlink(file);
}

/** A file of networks has a few kilobytes. */
const mostBytes = 4 * 1024 * 1024;
