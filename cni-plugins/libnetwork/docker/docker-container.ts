import { membershipLabel } from '../../spec/memberships.ts';

/**
 * The parts of docker's description of a container (Engine API, ContainerInspect) that networks need. Pure.
 */
export interface DockerContainer {
  readonly id: string;
  readonly name: string;
  /**
   * Absent: the container does not run. `pid` is its number and `netns` the path of its network namespace,
   * both as seen by docker.
   */
  readonly running?: { readonly pid: number; readonly netns: string };
  readonly endpoints: readonly DockerEndpoint[];
}

export interface DockerEndpoint {
  /** The id of the endpoint, as the remote driver knows it. */
  readonly id: string;
  /** The name of the container. */
  readonly name: string;
  /** Include the container's short id, as in docker's own name server. */
  readonly aliases: readonly string[];
  /** The container's label with the services that it joins, as its author wrote it. */
  readonly services?: string;
}

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;

const textsOf = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((each): each is string => typeof each === 'string' && each !== '') : [];

/** Returns undefined if the value describes no container. */
export function readDockerContainer(value: unknown): DockerContainer | undefined {
  const [id, name] = [fieldOf(value, 'Id'), fieldOf(value, 'Name')];
  if (typeof id !== 'string' || typeof name !== 'string') return undefined;
  const settings = fieldOf(value, 'NetworkSettings');
  const [pid, netns] = [fieldOf(fieldOf(value, 'State'), 'Pid'), fieldOf(settings, 'SandboxKey')];
  const services = fieldOf(fieldOf(fieldOf(value, 'Config'), 'Labels'), membershipLabel);
  const own = name.replace(/^\//u, '');
  const networks = fieldOf(settings, 'Networks');
  const endpoints = Object.values(typeof networks === 'object' && networks !== null ? networks : {}).flatMap(
    (network): DockerEndpoint[] => {
      const endpoint = fieldOf(network, 'EndpointID');
      if (typeof endpoint !== 'string' || endpoint === '') return [];
      // `DNSNames` of docker 25 and later contains what `Aliases` contained before, and the user's aliases.
      const aliases = new Set([
        id.slice(0, 12),
        ...textsOf(fieldOf(network, 'Aliases')),
        ...textsOf(fieldOf(network, 'DNSNames')),
      ]);
      return [
        {
          id: endpoint,
          name: own,
          aliases: [...aliases].filter((each) => each !== own),
          ...(typeof services === 'string' && services !== '' && { services }),
        },
      ];
    },
  );
  const runs = typeof pid === 'number' && pid > 0 && typeof netns === 'string' && netns.startsWith('/');
  return { id, name: own, ...(runs && { running: { pid, netns } }), endpoints };
}

/**
 * Returns the ids of a network's endpoints (Engine API, NetworkInspect), including those of containers that
 * do not run. Undefined: the value describes no network.
 */
export function endpointsOfNetwork(value: unknown): ReadonlySet<string> | undefined {
  const containers = fieldOf(value, 'Containers');
  if (typeof containers !== 'object' || containers === null) return undefined;
  return new Set(Object.values(containers).flatMap((each) => textsOf([fieldOf(each, 'EndpointID')])));
}

/** Returns the container that an event of docker is about, or undefined if there is none. */
export function containerOfEvent(event: unknown): string | undefined {
  const actor = fieldOf(event, 'Actor');
  const id =
    fieldOf(event, 'Type') === 'network'
      ? fieldOf(fieldOf(actor, 'Attributes'), 'container')
      : fieldOf(actor, 'ID');
  return typeof id === 'string' && /^[0-9a-f]{12,64}$/u.test(id) ? id : undefined;
}
