import type { ActsApart } from '../acts/act-thread.ts';
import { endpointReply, joinReply } from '../endpoints/endpoint-reply.ts';
import type { Endpoints, Engine } from '../endpoints/endpoints.types.ts';
import { networkUnknown, scopeRefused } from '../protocol/failures.ts';
import { networkOfRequest } from '../endpoints/network-list.ts';
import type { ListSource } from '../endpoints/network-list.ts';
import { netLabels } from '../protocol/protocol.ts';
import type { DriverVerb, DriverVerbs, EndpointInfoReply, Nothing, ReplyOf } from '../protocol/protocol.ts';
import { interfaceName } from '../acts/records.ts';
import {
  readCreateEndpoint,
  readCreateNetwork,
  readEndpoint,
  readGwAllocCheck,
  readJoin,
  readNetwork,
  readProgram,
  readReleaseAddress,
  readReleasePool,
  readRequestAddress,
  readRequestPool,
} from '../protocol/requests.ts';
import type { KeyedQueue } from '../../../base/queues/index.ts';

/** Implements each verb: reads the request, acts and answers. */

export type Verbs = {
  readonly [Verb in keyof DriverVerbs]: (body: string, by: Engine) => Promise<ReplyOf<Verb>> | ReplyOf<Verb>;
};

export interface VerbDeps {
  readonly acts: ActsApart;
  readonly endpoints: Endpoints;
  readonly source: ListSource;
  readonly turns: KeyedQueue;
}

/** The address spaces are names that the engine passes back. */
const addressSpaces = {
  LocalDefaultAddressSpace: 'portcullis',
  GlobalDefaultAddressSpace: 'portcullis-global',
};

const done: Nothing = {};

export function createVerbs({ acts, endpoints, source, turns }: VerbDeps): Verbs {
  const refuseScope = (verb: DriverVerb) => (): never => {
    throw scopeRefused(verb);
  };
  return {
    'Plugin.Activate': () => ({ Implements: ['NetworkDriver', 'IpamDriver'] }),

    'NetworkDriver.GetCapabilities': () => ({
      Scope: 'local',
      ConnectivityScope: 'local',
      GwAllocChecker: true,
    }),
    'NetworkDriver.AllocateNetwork': refuseScope('NetworkDriver.AllocateNetwork'),
    'NetworkDriver.FreeNetwork': refuseScope('NetworkDriver.FreeNetwork'),
    // Nodes of a swarm: nothing here depends on them.
    'NetworkDriver.DiscoverNew': () => done,
    'NetworkDriver.DiscoverDelete': () => done,
    'NetworkDriver.GwAllocCheck': (body) => {
      const { Options = {} } = readGwAllocCheck(body);
      const internal = Options[netLabels.internal] === true || Options[netLabels.internal] === 'true';
      return { SkipIPv4: internal, SkipIPv6: internal };
    },
    'NetworkDriver.CreateNetwork': async (body, by) => {
      const network = networkOfRequest(readCreateNetwork(body), source);
      await turns.run(`network ${network.id}`, async () => {
        await acts.createNetwork({ ...network, bridges: await acts.missing(by.caller, network.bridges) });
      });
      return done;
    },
    'NetworkDriver.DeleteNetwork': async (body, by) => {
      const { NetworkID } = readNetwork('NetworkDriver.DeleteNetwork', body);
      await turns.run(`network ${NetworkID}`, async () => {
        const network = await acts.network(NetworkID);
        if (network === undefined) return;
        await endpoints.sweep(({ network }) => network === NetworkID, by);
        await acts.removeNetwork(NetworkID);
        await acts.removeBridges(by.caller, network.bridges);
      });
      return done;
    },
    'NetworkDriver.CreateEndpoint': async (body, by) => {
      const { NetworkID, EndpointID, Interface } = readCreateEndpoint(body);
      const { result, link } = await endpoints.create(EndpointID, NetworkID, Interface, by);
      return endpointReply(Interface, result, link, interfaceName);
    },
    'NetworkDriver.DeleteEndpoint': async (body, by) => {
      const { EndpointID } = readEndpoint('NetworkDriver.DeleteEndpoint', body);
      await endpoints.remove(EndpointID, by);
      return done;
    },
    'NetworkDriver.EndpointOperInfo': async (body): Promise<EndpointInfoReply> => {
      const { NetworkID, EndpointID } = readEndpoint('NetworkDriver.EndpointOperInfo', body);
      if ((await acts.network(NetworkID)) === undefined) throw networkUnknown(NetworkID);
      const { endpoint, network, link } = await endpoints.require(EndpointID, NetworkID);
      const { ports } = endpoint.spec;
      return {
        Value: {
          'portcullis.network': network.name,
          [netLabels.macAddress]: link.mac,
          ...(ports !== undefined && {
            [netLabels.portMap]: ports.bindings.map((binding, index) => {
              const port = ports.mappings[index]?.hostPort ?? binding.HostPort;
              return { ...binding, HostPort: port, HostPortEnd: port };
            }),
          }),
        },
      };
    },
    'NetworkDriver.Join': async (body, by) => {
      const { NetworkID, EndpointID, SandboxKey } = readJoin(body);
      const made =
        (await endpoints.setSandbox(EndpointID, NetworkID, SandboxKey, by)) ??
        (await endpoints.require(EndpointID, NetworkID));
      return joinReply(made.network, made.result, made.link, interfaceName);
    },
    'NetworkDriver.Leave': async (body, by) => {
      const { NetworkID, EndpointID } = readEndpoint('NetworkDriver.Leave', body);
      await endpoints.setSandbox(EndpointID, NetworkID, undefined, by);
      return done;
    },
    'NetworkDriver.ProgramExternalConnectivity': async (body, by) => {
      const { NetworkID, EndpointID, bindings } = readProgram(body);
      await endpoints.publish(EndpointID, NetworkID, bindings, by);
      return done;
    },
    'NetworkDriver.RevokeExternalConnectivity': async (body, by) => {
      const { EndpointID } = readEndpoint('NetworkDriver.RevokeExternalConnectivity', body);
      await endpoints.unpublish(EndpointID, by);
      return done;
    },

    'IpamDriver.GetCapabilities': () => ({ RequiresMACAddress: false, RequiresRequestReplay: false }),
    'IpamDriver.GetDefaultAddressSpaces': () => addressSpaces,
    'IpamDriver.RequestPool': (body, by) => acts.requestPool(readRequestPool(body), by.caller),
    'IpamDriver.ReleasePool': async (body) => {
      await acts.releasePool(readReleasePool(body));
      return done;
    },
    'IpamDriver.RequestAddress': (body) => acts.requestAddress(readRequestAddress(body)),
    'IpamDriver.ReleaseAddress': async (body) => {
      await acts.releaseAddress(readReleaseAddress(body));
      return done;
    },
  };
}
