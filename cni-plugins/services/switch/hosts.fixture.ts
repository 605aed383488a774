import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/** Clients and backends around this process's own namespace, which routes between them and balances. */

export type Order =
  | {
      readonly verb: 'serve';
      readonly protocol: 'tcp' | 'udp';
      readonly address: string;
      readonly port: number;
    }
  | {
      readonly verb: 'greet';
      readonly address: string;
      readonly port: number;
      readonly times: number;
      readonly froms?: readonly string[];
    }
  | { readonly verb: 'stream'; readonly address: string; readonly port: number }
  | { readonly verb: 'report' | 'end'; readonly stream: number }
  /** One question over UDP. Questions of one flow leave by one port. */
  | { readonly verb: 'ask'; readonly address: string; readonly port: number; readonly flow: number };

/** A connection that sends all the time and gets the same data back. */
export interface StreamReport {
  sent: number;
  received: number;
  inOrder: boolean;
  failure?: string | undefined;
}

/** An end of connections, run by a thread. */
export interface TestEnd {
  readonly name: string;
  /** Returns `NAME CLIENT` of each connection, or an errno. */
  greet(address: string, port: number, times?: number, froms?: readonly string[]): Promise<string[]>;
  serve(protocol: 'tcp' | 'udp', address: string, port: number): Promise<void>;
  stream(address: string, port: number): Promise<{ readonly greeting: string; readonly id: number }>;
  report(stream: number): Promise<StreamReport | undefined>;
  end(stream: number): Promise<StreamReport | undefined>;
  ask(address: string, port: number, flow: number): Promise<string>;
  stop(): Promise<void>;
}

/** An end in a network namespace of its own. */
export interface TestHost extends TestEnd {
  readonly address: string;
  readonly address6: string;
  run(command: string): string;
  /** Returns the output of a program there. */
  output(command: readonly string[]): string;
  /** Starts a program there that runs until the host stops. */
  start(command: readonly string[]): void;
}

export const shell = (command: string): string =>
  execFileSync('sh', ['-c', command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/**
 * Makes this namespace a router: bridge `backends` (10.2.0.1/24, fd02::1/64), and a link to each client
 * network. Once per process.
 */
export function becomeRouter(): void {
  shell(
    [
      'ip link add backends type bridge',
      'ip link set backends up',
      'ip addr add 10.2.0.1/24 dev backends',
      'ip -6 addr add fd02::1/64 dev backends nodad',
      'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0',
    ].join('\n'),
  );
}

interface Started {
  readonly end: TestEnd;
  /** Its path in /proc. */
  readonly thread: string;
}

async function startEnd(name: string, apart: boolean): Promise<Started> {
  const worker = new Worker(new URL('./hosts.worker.fixture.ts', import.meta.url), {
    workerData: { name, apart },
  });
  const waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();
  let orders = 0;
  const [{ thread }] = (await once(worker, 'message')) as [{ thread: string }];
  worker.on('message', ({ id, answer, failure }: { id: number; answer: unknown; failure?: string }) => {
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (failure === undefined) waiter?.resolve(answer);
    else waiter?.reject(new Error(failure));
  });
  worker.on('error', (thrown) => waiting.forEach(({ reject }) => reject(thrown as Error)));
  const call = (order: Order): { id: number; answer: Promise<unknown> } => {
    orders += 1;
    const id = orders;
    const answer = new Promise<unknown>((resolve, reject) => waiting.set(id, { resolve, reject }));
    worker.postMessage({ id, order });
    return { id, answer };
  };
  const end: TestEnd = {
    name,
    greet: (to, port, times = 1, froms) =>
      call({ verb: 'greet', address: to, port, times, ...(froms !== undefined && { froms }) })
        .answer as Promise<string[]>,
    serve: async (protocol, at, port) =>
      void (await call({ verb: 'serve', protocol, address: at, port }).answer),
    async stream(to, port) {
      const { id, answer } = call({ verb: 'stream', address: to, port });
      return { greeting: (await answer) as string, id };
    },
    report: (stream) => call({ verb: 'report', stream }).answer as Promise<StreamReport | undefined>,
    end: (stream) => call({ verb: 'end', stream }).answer as Promise<StreamReport | undefined>,
    ask: (to, port, flow) => call({ verb: 'ask', address: to, port, flow }).answer as Promise<string>,
    stop: async () => void (await worker.terminate()),
  };
  return { end, thread };
}

/** Opens an end on the router itself. */
export const openRouterEnd = async (): Promise<TestEnd> => (await startEnd('router', false)).end;

/**
 * @param number of the host in its network: 10.NETWORK.0.NUMBER. Network 2 has the backends on one bridge;
 * each other network is a client's own link.
 */
export async function openHost(name: string, network: number, number: number): Promise<TestHost> {
  const { end, thread } = await startEnd(name, true);
  const entered = ['nsenter', `--net=/proc/${thread}/ns/net`] as const;
  const run = (command: string): string => shell(`${entered.join(' ')} sh -c '${command}'`);
  const started: ChildProcess[] = [];
  const [address, address6] = [`10.${network}.0.${number}`, `fd0${network}::${number}`];
  shell(`ip link add v-${name} type veth peer name eth0 netns ${thread}`);
  if (network === 2)
    shell(`ip link set v-${name} master backends; ip link set dev v-${name} type bridge_slave hairpin on`);
  else
    shell(
      `ip addr add 10.${network}.0.1/24 dev v-${name}; ip -6 addr add fd0${network}::1/64 dev v-${name} nodad`,
    );
  shell(`ip link set v-${name} up`);
  run(
    [
      'ip link set lo up; ip link set eth0 up',
      `ip addr add ${address}/24 dev eth0; ip -6 addr add ${address6}/64 dev eth0 nodad`,
      `ip route add default via 10.${network}.0.1; ip -6 route add default via fd0${network}::1`,
    ].join('; '),
  );
  return {
    ...end,
    address,
    address6,
    run,
    output: (command) => execFileSync(entered[0], [entered[1], ...command], { encoding: 'utf8' }),
    start: (command) =>
      void started.push(
        spawn('setpriv', ['--pdeathsig', 'KILL', ...entered, ...command], { stdio: 'ignore' }),
      ),
    async stop() {
      for (const each of started) each.kill('SIGKILL');
      await end.stop();
    },
  };
}
