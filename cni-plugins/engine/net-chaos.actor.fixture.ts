import { writeSync } from 'node:fs';
import { createLogger } from '../../base/log/index.ts';
import type { CniResult } from '../spec/result.ts';
import { createNetworkEngine, openPluginEngine } from './engine.ts';
import type { CallPlugin, PluginCall } from '../calls/plugin-call.ts';

/**
 * The program that net-chaos.test.ts kills. As `daemon` it attaches pods of our own runtime, changes their
 * rules and serves plugin calls; as `alone` it is a CNI plugin without a daemon. It prints every step on a
 * line of its own: `+ id` begins an ADD, `= id address…` ends it, `- id` begins a DEL, `0 id` ends it.
 * Argument: {@link ActorOrder} as JSON.
 */
export interface ActorOrder {
  readonly role: 'daemon' | 'alone';
  readonly databasePath: string;
  readonly confDir: string;
  readonly name: string;
  readonly namespaces: readonly string[];
  /** Left by the previous actor; deleted first, as a runtime does. */
  readonly leftovers: readonly { readonly id: string; readonly netns: string }[];
  /** Host ports from this one on are its own. */
  readonly port: number;
  /** Pods of our own runtime that must stay. */
  readonly valid: readonly string[];
}

const order = JSON.parse(process.argv[2] ?? '{}') as ActorOrder;
const log = createLogger({ level: 'silent' });
const report = (line: string): void => void writeSync(1, `${line}\n`);

const chainOf = (port: number): readonly (Record<string, unknown> & { readonly type: string })[] => [
  {
    type: 'portcullis-bridge',
    bridge: 'cni0',
    isDefaultGateway: true,
    ipMasq: true,
    macspoofchk: port % 2 === 0,
    ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]] },
  },
  {
    type: 'portcullis-portmap',
    runtimeConfig: {
      portMappings: [{ hostPort: port, containerPort: 53, protocol: port % 3 === 0 ? 'udp' : 'tcp' }],
    },
  },
];

function plugins(callPlugin: CallPlugin): {
  add(id: string, netns: string, port: number): Promise<string[]>;
  del(id: string, netns: string): Promise<void>;
} {
  const call = (
    verb: PluginCall['verb'],
    conf: { readonly type: string },
    id: string,
    netns: string,
    prevResult?: CniResult,
  ): Promise<CniResult | undefined> =>
    callPlugin({
      verb,
      type: conf.type,
      caller: {},
      key: { network: 'chaos', containerId: id, interface: 'eth0' },
      netns,
      args: {},
      path: [],
      config: JSON.stringify({ cniVersion: '1.1.0', name: 'chaos', ...conf }),
      ...(prevResult === undefined ? {} : { prevResult }),
    });
  return {
    async add(id, netns, port) {
      let result: CniResult | undefined;
      for (const conf of chainOf(port)) result = await call('add', conf, id, netns, result);
      if (result !== undefined)
        for (const conf of chainOf(port)) await call('check', conf, id, netns, result);
      return (result?.ips ?? []).map(({ address }) => address);
    },
    async del(id, netns) {
      for (const conf of chainOf(1).toReversed()) await call('del', conf, id, netns);
    },
  };
}

async function live(
  slot: number,
  add: (id: string) => Promise<string[]>,
  del: (id: string) => Promise<void>,
): Promise<never> {
  for (let turn = 0; ; turn += 1) {
    const id = `${order.name}-${slot}-${turn}`;
    report(`+ ${id}`);
    report(`= ${id} ${(await add(id)).join(' ')}`);
    report(`- ${id}`);
    await del(id);
    report(`0 ${id}`);
  }
}

async function alone(callPlugin: CallPlugin, namespaces: readonly string[], ports: number): Promise<never> {
  const { add, del } = plugins(callPlugin);
  for (const { id, netns } of order.leftovers) {
    if (order.valid.includes(id)) continue;
    await del(id, netns);
    report(`0 ${id}`);
  }
  report('started');
  return Promise.race(
    namespaces.map((netns, slot) =>
      live(
        slot,
        (id) => add(id, netns, ports + slot),
        (id) => del(id, netns),
      ),
    ),
  );
}

if (order.role === 'alone') {
  await alone(
    openPluginEngine({ databasePath: order.databasePath, log }).callPlugin,
    order.namespaces,
    order.port,
  );
} else {
  const engine = await createNetworkEngine({ databasePath: order.databasePath, confDir: order.confDir, log });
  await engine.gc(new Set(order.valid));
  const [served = '', ...own] = order.namespaces;
  const attach = async (id: string, netns: string, port: number): Promise<string[]> => {
    const portMappings = [{ protocol: 'udp', containerPort: 53, hostPort: port } as const];
    const { ips } = await engine.attach({
      id,
      netns,
      pod: { name: id, namespace: 'default', uid: id },
      portMappings,
    });
    for (const linkClass of ['user', 'none', 'user'] as const) await engine.setClass(id, linkClass);
    return ips.map(({ address }) => address);
  };
  await Promise.race([
    alone(engine.callPlugin, [served], order.port),
    ...own.map((netns, slot) =>
      live(
        slot + 1,
        (id) => attach(id, netns, order.port + 1 + slot),
        (id) => engine.detach(id),
      ),
    ),
  ]);
}
