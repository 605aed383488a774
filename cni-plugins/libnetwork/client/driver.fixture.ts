import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { createHttpServer } from '../../../base/connections/index.ts';

/**
 * A remote driver in this process, for tests: real HTTP on a socket, real links. It is strict, and tests can
 * make it misbehave.
 */
export interface TestDriver {
  /** `VERB NAME` of every request, in order. */
  readonly calls: string[];
  /** Returns the objects of the driver: ids of networks and endpoints, pools and addresses. */
  held(): readonly string[];
  /**
   * Changes the answer to one verb from now on: a status and a text, no answer at all, or the end of the
   * connection after the request is `done`. Undefined restores the normal answer.
   */
  answer(verb: string, how: OtherAnswer | undefined): void;
  /** Returns the body of the last request of a verb. */
  last(verb: string): Record<string, unknown>;
  listen(): Promise<void>;
  close(): Promise<void>;
}

type OtherAnswer = { readonly status: number; readonly text: string } | 'done' | 'never';

type Body = Readonly<Record<'Address' | 'EndpointID' | 'NetworkID' | 'Pool' | 'PoolID', string>>;

/**
 * @param socket where it listens
 * @param options.gateway the gateway in its answer to Join; `own`: the network's
 */
export function createTestDriver(
  socket: string,
  options: { readonly gateway?: string; readonly chosen?: object } = {},
): TestDriver {
  const calls: string[] = [];
  const bodies = new Map<string, Record<string, unknown>>();
  const held = new Set<string>();
  const answers = new Map<string, OtherAnswer>();
  let server: Server | undefined;
  const ip = (...args: string[]): void => {
    const run = spawnSync('ip', args, { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`ip ${args.join(' ')}: ${run.stderr}`);
  };
  const put = (thing: string): void => {
    if (held.has(thing)) throw new Error(`${thing} is there`);
    held.add(thing);
  };
  const take = (thing: string): void => {
    if (!held.delete(thing)) throw new Error(`${thing} is not there`);
  };
  const link = (id: string, end: 'h' | 'p'): string => `t${end}${id.slice(0, 10)}`;
  const verbs: Readonly<Record<string, (body: Body) => object>> = {
    'Plugin.Activate': () => ({ Implements: ['NetworkDriver', 'IpamDriver'] }),
    'NetworkDriver.GetCapabilities': () => ({ Scope: 'local' }),
    'NetworkDriver.CreateNetwork': ({ NetworkID }) => (put(`network ${NetworkID}`), {}),
    'NetworkDriver.DeleteNetwork': ({ NetworkID }) => (take(`network ${NetworkID}`), {}),
    'NetworkDriver.CreateEndpoint': ({ EndpointID }) => (
      put(`endpoint ${EndpointID}`),
      { Interface: options.chosen ?? {} }
    ),
    'NetworkDriver.DeleteEndpoint': ({ EndpointID }) => {
      take(`endpoint ${EndpointID}`);
      spawnSync('ip', ['link', 'del', link(EndpointID, 'h')]);
      return {};
    },
    'NetworkDriver.EndpointOperInfo': ({ EndpointID }) => {
      if (!held.has(`endpoint ${EndpointID}`)) throw new Error('no such endpoint');
      return { Value: {} };
    },
    'NetworkDriver.Join': ({ EndpointID }) => {
      const [pool] = (bodies.get('NetworkDriver.CreateNetwork')?.['IPv4Data'] ?? []) as {
        Gateway?: string;
      }[];
      const gateway = options.gateway === 'own' ? pool?.Gateway?.replace(/\/.*$/u, '') : options.gateway;
      put(`join ${EndpointID}`);
      ip('link', 'add', link(EndpointID, 'h'), 'type', 'veth', 'peer', 'name', link(EndpointID, 'p'));
      ip('link', 'set', link(EndpointID, 'h'), 'up');
      return {
        InterfaceName: { SrcName: link(EndpointID, 'p'), DstPrefix: 'eth' },
        Gateway: gateway ?? '',
        StaticRoutes:
          gateway === undefined ? [] : [{ Destination: '192.0.2.0/24', RouteType: 0, NextHop: gateway }],
      };
    },
    'NetworkDriver.Leave': ({ EndpointID }) => (take(`join ${EndpointID}`), {}),
    'NetworkDriver.ProgramExternalConnectivity': ({ EndpointID }) => (put(`ports ${EndpointID}`), {}),
    'NetworkDriver.RevokeExternalConnectivity': ({ EndpointID }) => (take(`ports ${EndpointID}`), {}),
    'IpamDriver.GetCapabilities': () => ({ RequiresMACAddress: true }),
    'IpamDriver.GetDefaultAddressSpaces': () => ({
      LocalDefaultAddressSpace: 'here',
      GlobalDefaultAddressSpace: 'there',
    }),
    'IpamDriver.RequestPool': ({ Pool }) => {
      const block = Pool === '' ? '10.77.0.0/24' : Pool;
      if (!/^(?:\d+\.){3}0\/24$/u.test(block)) throw new Error(`${block} is not a block of 256 addresses`);
      put(`pool ${block}`);
      return { PoolID: block, Pool: block, Data: {} };
    },
    'IpamDriver.ReleasePool': ({ PoolID }) => (take(`pool ${PoolID}`), {}),
    'IpamDriver.RequestAddress': ({ PoolID, Address }) => {
      const first = PoolID.replace(/\d+\/\d+$/u, '');
      let next = 2;
      while (Address === '' && held.has(`address ${first}${next}`)) next += 1;
      const address = Address === '' ? `${first}${next}` : Address;
      put(`address ${address}`);
      return { Address: `${address}/24`, Data: {} };
    },
    'IpamDriver.ReleaseAddress': ({ Address }) => (take(`address ${Address}`), {}),
  };
  return {
    calls,
    held: () => [...held].toSorted(),
    answer(verb, how) {
      if (how === undefined) answers.delete(verb);
      else answers.set(verb, how);
    },
    last: (verb) => bodies.get(verb) ?? {},
    async listen() {
      rmSync(socket, { force: true });
      const opened = createHttpServer((request, response) => {
        const chunks: Buffer[] = [];
        request.on('data', (chunk: Buffer) => chunks.push(chunk));
        request.on('end', () => {
          const verb = (request.url ?? '').slice(1);
          const body = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Body;
          const id = (body as Partial<Body>).EndpointID ?? (body as Partial<Body>).NetworkID ?? '';
          calls.push(`${verb} ${id}`.trim());
          bodies.set(verb, body);
          const other = answers.get(verb);
          if (other === 'never') return;
          if (other !== undefined && other !== 'done')
            return response.writeHead(other.status).end(other.text);
          try {
            const act = verbs[verb];
            if (act === undefined) return response.writeHead(404).end('404 page not found\n');
            const reply = JSON.stringify(act(body));
            if (other === 'done') return response.destroy();
            response.writeHead(200).end(reply);
          } catch (thrown) {
            response.writeHead(500).end(JSON.stringify({ Err: (thrown as Error).message }));
          }
        });
      });
      server = opened;
      await new Promise<void>((resolve) => opened.listen(socket, resolve));
    },
    async close() {
      const closing = server;
      server = undefined;
      closing?.closeAllConnections();
      if (closing !== undefined) await new Promise((resolve) => closing.close(resolve));
      rmSync(socket, { force: true });
    },
  };
}
