import { failure } from '../../base/errors/index.ts';
import { linesOf, readServices } from '../../cni-plugins/index.ts';
import type { AdminResponse, Service } from '../../cni-plugins/index.ts';
import { writeYaml } from '../../base/schema/index.ts';
import { canonical, fingerprintOf } from '../model/fingerprint.ts';
import type { Change, Controller, Item, NodeState, Observed, WantedService } from '../model/types.ts';
import { askDaemonAdmin } from './node-access.ts';
import type { DaemonAccess } from './node-access.ts';

type Listed = AdminResponse<'services/list'>['services'][number];

/** Services, as `portcullis service apply` sends them to the daemon. */
export function serviceController(access: DaemonAccess): Controller {
  return {
    section: 'services',
    after: ['networks'],
    foreign: 'exclusive',
    backsOff: false,
    schema: {
      type: 'array',
      description:
        'Services: the fields of the document kind `Service` (docs/services.md) beside `name`. Addresses, ports and the scheduler are compared with what the daemon has; other fields are applied when they change here.',
      maxItems: 1000,
      items: {
        type: 'object',
        required: ['name'],
        properties: {
          name: { type: 'string', minLength: 1, maxLength: 253, description: 'Name of the service.' },
        },
      },
    },
    items: ({ services }: NodeState) =>
      new Map(services.map((service): [string, Item] => [service.name, itemOf(service)])),
    observe: (names) => observe(access, names),
    async apply({ action, name }: Change, state) {
      if (action === 'delete')
        return void (await askDaemonAdmin(access, 'services/remove', { names: [name] }));
      const wanted = state.services.find((service) => service.name === name);
      const service = wanted && serviceOf(wanted);
      if (service === undefined) return;
      const { refused } = await askDaemonAdmin(access, 'services/apply', { services: [service] });
      const [first] = refused;
      if (first !== undefined)
        throw failure(
          'NODE_STATE_CHANGE_REFUSED',
          'precondition',
          'apply the service',
          name,
          `${first.why} [${first.code}]`,
          'correct the service in the state',
        );
    },
  };
}

/** Fields of the document kind that a service of a state cannot have: its name would not be `name`. */
export const headOfService = ['apiVersion', 'kind', 'metadata'] as const;

/** Returns the text of a service as a document of its own kind. */
export function serviceDocument({ name, ...fields }: WantedService): string {
  return writeYaml({
    ...fields,
    apiVersion: 'portcullis.dev/v1alpha1',
    kind: 'Service',
    metadata: { name },
  });
}

/** @throws Error for a service that was not checked before */
function serviceOf(wanted: WantedService): Service {
  const { described, problems } = readServices([{ file: wanted.name, text: serviceDocument(wanted) }]);
  const [first] = described;
  if (first === undefined) throw new Error(linesOf(problems).join('; '));
  return first.service;
}

function itemOf(wanted: WantedService): Item {
  const service = serviceOf(wanted);
  return { fingerprint: fingerprintOf(wanted), visible: visibleOf(service), shown: shownOf(service) };
}

type Shown = Pick<Listed, 'addresses' | 'externalAddresses' | 'ports' | 'scheduler'>;

const visibleOf = ({ addresses, externalAddresses, ports, scheduler }: Shown): string =>
  canonical({
    addresses: addresses.toSorted(),
    externalAddresses: externalAddresses.toSorted(),
    ports: ports.map((port) => canonical(port)).toSorted(),
    scheduler,
  });

const shownOf = ({ addresses, ports, scheduler }: Shown): string =>
  `${addresses.join(' ')} ${ports.map(({ port, protocol }) => `${port}/${protocol}`).join(' ')} ${scheduler}`;

async function observe(
  access: DaemonAccess,
  names: ReadonlySet<string>,
): Promise<ReadonlyMap<string, Observed>> {
  const found = new Map<string, Observed>();
  if (names.size === 0) return found;
  const { services } = await askDaemonAdmin(access, 'services/list', { names: [...names] });
  for (const service of services) {
    // Removed, and its connections end.
    if (service.source === undefined || !names.has(service.name)) continue;
    // A service of a file or of a cluster is never the one that we applied.
    const visible = service.source === 'command' ? visibleOf(service) : `of the source ${service.source}`;
    found.set(service.name, { visible, shown: shownOf(service) });
  }
  return found;
}
