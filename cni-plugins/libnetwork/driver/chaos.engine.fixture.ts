import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { ask } from './driver.fixture.ts';
import type { CreateEndpointReply, JoinReply } from '../protocol/protocol.ts';

/**
 * An engine for the chaos test, as a process that may be killed: it creates endpoints, moves their links into
 * containers, publishes ports and takes all back, and prints what it would record. On `end` it takes back
 * what it knows and exits.
 */
export interface EngineOrder {
  readonly socket: string;
  readonly networks: readonly EngineNetwork[];
  /** One container for each. */
  readonly sandboxes: readonly string[];
  /** Endpoints that an earlier engine recorded. */
  readonly known: readonly KnownEndpoint[];
}

export interface EngineNetwork {
  readonly id: string;
  /** The engine assigns addresses of this /24. */
  readonly subnet?: string;
}

export interface KnownEndpoint {
  readonly id: string;
  readonly network: string;
  readonly sandbox: string;
  readonly source: string;
}

const order = JSON.parse(readFileSync(0, 'utf8')) as EngineOrder;
const say = (line: string): void => void process.stdout.write(`${line}\n`);
let ending = false;
process.on('SIGTERM', () => (ending = true));

/**
 * Like docker's plugin client, it retries a driver that does not answer; for longer, because a machine under
 * load starts the driver slowly.
 */
async function call<Reply>(verb: string, body: object): Promise<Reply> {
  for (const late = performance.now() + 600_000; ; await pause(50)) {
    try {
      const { status, text } = await ask(order.socket, verb, JSON.stringify(body));
      if (status !== 200) throw new Error(`${verb} ${JSON.stringify(body)}: ${text}`);
      return JSON.parse(text) as Reply;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === undefined || performance.now() > late) throw thrown;
    }
  }
}

const run = (...words: string[]): boolean => {
  try {
    execFileSync(words[0] ?? '', words.slice(1), { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};
const inside = (sandbox: string, ...words: string[]): boolean => run('nsenter', `--net=${sandbox}`, ...words);

async function make(slot: number, network: EngineNetwork, sandbox: string): Promise<KnownEndpoint> {
  const of = { NetworkID: network.id, EndpointID: randomBytes(32).toString('hex') };
  const Address = network.subnet === undefined ? '' : network.subnet.replace(/\.0\/24$/u, `.${10 + slot}/24`);
  const made = await call<CreateEndpointReply>('NetworkDriver.CreateEndpoint', {
    ...of,
    Interface: { Address },
  });
  const endpoint = {
    id: of.EndpointID,
    network: network.id,
    sandbox,
    source: `pce${of.EndpointID.slice(0, 12)}`,
  };
  say(`= ${JSON.stringify(endpoint)}`);
  const joined = await call<JoinReply>('NetworkDriver.Join', { ...of, SandboxKey: sandbox });
  const own = made.Interface?.Address ?? Address;
  if (joined.InterfaceName?.SrcName !== endpoint.source) throw new Error(`joined ${JSON.stringify(joined)}`);
  if (!run('ip', 'link', 'set', endpoint.source, 'netns', sandbox, 'name', 'eth0'))
    throw new Error(`no link ${endpoint.source}`);
  inside(sandbox, 'ip', 'address', 'add', own, 'dev', 'eth0');
  inside(sandbox, 'ip', 'link', 'set', 'eth0', 'up');
  const Options = { 'com.docker.network.portmap': [{ Proto: 6, Port: 80, HostPort: 8000 + slot }] };
  await call('NetworkDriver.ProgramExternalConnectivity', { ...of, Options });
  return endpoint;
}

async function remove({ id, network, sandbox, source }: KnownEndpoint): Promise<void> {
  const of = { NetworkID: network, EndpointID: id };
  await call('NetworkDriver.RevokeExternalConnectivity', of);
  await call('NetworkDriver.Leave', of);
  inside(sandbox, 'ip', 'link', 'set', 'eth0', 'netns', String(process.pid), 'name', source);
  await call('NetworkDriver.DeleteEndpoint', of);
  say(`0 ${id}`);
}

for (const endpoint of order.known) await remove(endpoint);
say('ready');
await Promise.all(
  order.sandboxes.map(async (sandbox, slot) => {
    for (let turn = slot; !ending; turn += 1) {
      const network = order.networks[turn % order.networks.length];
      if (network !== undefined) await remove(await make(slot, network, sandbox));
    }
  }),
);
say('ended');
