/**
 * `npm run bench:services [-- --sizes 1,1000,5000,20000] [--rounds N]`: measures the cost of changing one
 * service among that many, with our balancer in process and with `nft -f` on rules in kube-proxy's form (a
 * verdict map, a chain per service). Also measures how long a connection through a virtual address takes with
 * one service and with the most, in turns. Runs in its own namespaces; prints lines of figures, then ratios.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import { openNftablesBalancer } from '../cni-plugins/services/nftables/balancer.ts';
import { keyOf } from '../cni-plugins/services/model/model.ts';
import type { VirtualServer } from '../cni-plugins/services/model/model.ts';
import { percentile } from './samples.ts';

if (process.env['PORTCULLIS_BENCH_APART'] === undefined) {
  const run = spawnSync(
    'unshare',
    [
      '--net',
      '--mount',
      '--propagation',
      'private',
      process.execPath,
      import.meta.filename,
      ...process.argv.slice(2),
    ],
    { stdio: 'inherit', env: { ...process.env, PORTCULLIS_BENCH_APART: '1' } },
  );
  process.exit(run.status ?? 1);
}

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1,1000,5000,20000' },
    rounds: { type: 'string', default: '24' },
    'without-nft': { type: 'boolean', default: false },
  },
});
const sizes = values.sizes.split(',').map(Number);
const rounds = Number(values.rounds);
const folder = mkdtempSync(join(tmpdir(), 'portcullis-bench-services-'));
const shell = (command: string): string => execFileSync('sh', ['-c', command], { encoding: 'utf8' });
shell('ip link set lo up; sysctl -qw net.ipv4.ip_forward=1');

/** Services with two backends each; the backends of the first two services exist. */
const addressOf = (index: number): string => `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
const service = (index: number, backends: readonly number[] = [1, 2]): VirtualServer => ({
  service: `service-${index}`,
  portName: 'main',
  kind: 'virtual',
  family: 4,
  address: addressOf(index),
  protocol: 'tcp',
  port: 80,
  scheduler: 'rr',
  clientAffinity: false,
  forwarding: 'nat',
  sourceAddress: 'keep',
  destinations: backends.map((backend) => ({ address: `10.2.0.${backend + 1}`, port: 8080, weight: 1 })),
});
const services = (count: number): VirtualServer[] =>
  Array.from({ length: count }, (_, index) => service(index + 1));

const figures = (taken: readonly number[]): string =>
  `p50 ${(percentile(taken, 0.5) * 1000).toFixed(0).padStart(8)} µs   min ${(Math.min(...taken) * 1000).toFixed(0).padStart(8)} µs   p90 ${(percentile(taken, 0.9) * 1000).toFixed(0).padStart(8)} µs   ${taken.length} times`;
const timed = (times: number, act: (time: number) => void): number[] =>
  Array.from({ length: times }, (_, time) => {
    const begin = performance.now();
    act(time);
    return performance.now() - begin;
  });

const balancer = openNftablesBalancer();
const ours = new Map<number, number>();
const kernelBytes = (): number =>
  Number(/^Slab:\s+(\d+)/mu.exec(shell('cat /proc/meminfo'))?.[1] ?? 0) * 1024;
for (const size of sizes) {
  const [slab, begin] = [kernelBytes(), performance.now()];
  balancer.reconcile(services(size));
  const loaded = performance.now() - begin;
  const memory = (kernelBytes() - slab) / 1e6;
  const again = performance.now();
  balancer.reconcile(services(size));
  console.log(
    `${size} services: loaded in ${loaded.toFixed(0)} ms, compared in ${(performance.now() - again).toFixed(0)} ms, the kernel's memory grew by ${memory.toFixed(1)} MB`,
  );
  for (let time = 0; time < 3; time += 1) {
    shell('nft delete table ip portcullis_services; nft delete table ip6 portcullis_services');
    const [gone, cpu] = [performance.now(), process.cpuUsage()];
    balancer.restore?.();
    const { user, system } = process.cpuUsage(cpu);
    console.log(
      `  deleted by another program, restored in ${(performance.now() - gone).toFixed(0)} ms, ${((user + system) / 1000).toFixed(0)} ms of processor time, ${(system / 1000).toFixed(0)} ms of them in the kernel`,
    );
  }
  const fresh = (time: number): VirtualServer => service(60_000 + time);
  timed(200, (time) => balancer.change([fresh(time)], []));
  timed(200, (time) => balancer.change([], [keyOf(fresh(time))]));
  const kinds: readonly (readonly [what: string, act: (time: number) => void])[] = [
    ['a new service', (time) => balancer.change([fresh(time)], [])],
    ['all its backends are others', (time) => balancer.change([service(60_000 + time, [3, 4])], [])],
    ['one backend less', (time) => balancer.change([service(60_000 + time, [3])], [])],
    ['the service goes', (time) => balancer.change([], [keyOf(fresh(time))])],
  ];
  const all: number[] = [];
  for (const [what, act] of kinds) {
    const taken = timed(500, act);
    all.push(...taken);
    console.log(`  ours, in process: ${what.padEnd(28)} ${figures(taken)}`);
  }
  ours.set(size, percentile(all, 0.5));
}

/**
 * Rules in the layout of kube-proxy's nftables mode: a verdict map to a chain for each service, there a
 * number and a chain for each endpoint.
 */
function kubeProxyForm(index: number): string {
  const chain = `service_${index}`;
  const endpoint = (number: number): string => `${chain}_${number}`;
  return [
    ...[1, 2].map(
      (number) =>
        `add chain ip kube ${endpoint(number)}\nadd rule ip kube ${endpoint(number)} meta l4proto tcp dnat to 10.2.0.${number + 1}:8080`,
    ),
    `add chain ip kube ${chain}`,
    `add rule ip kube ${chain} numgen random mod 2 vmap { 0 : goto ${endpoint(1)}, 1 : goto ${endpoint(2)} }`,
    `add element ip kube services { ${addressOf(index)} . tcp . 80 : goto ${chain} }`,
  ].join('\n');
}

const theirs = new Map<number, number>();
const run = (text: string): void => {
  const file = join(folder, 'rules');
  writeFileSync(file, `${text}\n`);
  execFileSync('nft', ['-f', file], { stdio: ['ignore', 'ignore', 'inherit'] });
};
if (!values['without-nft']) {
  balancer.removeAll();
  for (const size of sizes) {
    shell('nft delete table ip kube 2>/dev/null; true');
    run(
      [
        'add table ip kube',
        'add map ip kube services { type ipv4_addr . inet_proto . inet_service : verdict; }',
        'add chain ip kube prerouting { type nat hook prerouting priority -100; }',
        'add rule ip kube prerouting ip daddr . meta l4proto . th dport vmap @services',
        ...Array.from({ length: size }, (_, index) => kubeProxyForm(index + 1)),
      ].join('\n'),
    );
    const taken = timed(size > 5000 ? 5 : 15, (time) => run(kubeProxyForm(30_000 + time)));
    console.log(`${size} services, nft -f, kube-proxy's form: a new service   ${figures(taken)}`);
    theirs.set(size, percentile(taken, 0.5));
  }
  shell('nft delete table ip kube');
}

/** Connections between a client and a server behind this router, each in its own namespace. */
const most = Math.max(...sizes);
const worker = new Worker(new URL('./services-host.ts', import.meta.url), { workerData: { role: 'server' } });
const [server] = (await once(worker, 'message')) as [string];
const clientWorker = new Worker(new URL('./services-host.ts', import.meta.url), {
  workerData: { role: 'client' },
});
const [client] = (await once(clientWorker, 'message')) as [string];
shell(
  `for end in 1:${client} 2:${server}; do
     n=\${end%%:*}; t=\${end#*:}
     ip link add bench$n type veth peer name eth0 netns $t; ip addr add 10.$n.0.1/24 dev bench$n; ip link set bench$n up
     nsenter --net=/proc/$t/ns/net sh -c "ip link set lo up; ip link set eth0 up; ip addr add 10.$n.0.2/24 dev eth0; ip addr add 10.$n.0.3/24 dev eth0; ip route add default via 10.$n.0.1; sysctl -qw net.ipv4.tcp_max_tw_buckets=0"
   done
   sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_time_wait=1 net.netfilter.nf_conntrack_tcp_timeout_close=1 net.netfilter.nf_conntrack_tcp_timeout_close_wait=1 net.netfilter.nf_conntrack_tcp_timeout_last_ack=1 net.netfilter.nf_conntrack_tcp_timeout_fin_wait=1`,
);
worker.postMessage('listen');
await once(worker, 'message');
const connections = async (address: string, port: number): Promise<number[]> => {
  clientWorker.postMessage({ address, port, times: 400 });
  const [taken] = (await once(clientWorker, 'message')) as [number[]];
  return taken;
};
const latency = new Map<string, number[]>([
  ['directly', []],
  ['1 service', []],
  [`${most} services`, []],
]);
const note = (what: string, taken: readonly number[]): void => void latency.get(what)?.push(...taken);
/**
 * Compares within each round, because the machine's speed changes less within a round than between rounds.
 */
const ratios: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  const some = [
    ['1 service', [service(1)]],
    [`${most} services`, services(most)],
  ] as const;
  const medians = new Map<string, number>();
  for (const [what, loaded] of round % 2 === 0 ? some : some.toReversed()) {
    balancer.reconcile(loaded);
    await connections(addressOf(1), 80);
    const taken = await connections(addressOf(1), 80);
    note(what, taken);
    medians.set(what, percentile(taken, 0.5));
  }
  ratios.push((medians.get(`${most} services`) ?? Number.NaN) / (medians.get('1 service') ?? Number.NaN));
  note('directly', await connections('10.2.0.2', 8080));
}
console.log('');
for (const [what, taken] of latency) console.log(`a connection, ${what.padEnd(16)} ${figures(taken)}`);
balancer.removeAll();
balancer.close();
await worker.terminate();
await clientWorker.terminate();
rmSync(folder, { recursive: true, force: true });

const lowest = (what: string): number => Math.min(...(latency.get(what) ?? []));
console.log('');
for (const [size, time] of theirs)
  console.log(
    `a change at ${size} services: ours takes 1/${(time / (ours.get(size) ?? Number.NaN)).toFixed(0)} of nft's time`,
  );
console.log(
  `a connection at ${most} services beside one at 1: ${percentile(ratios, 0.5).toFixed(3)} (medians of a round, median of ${rounds} rounds), least ${(lowest(`${most} services`) / lowest('1 service')).toFixed(3)}`,
);
process.exit(0);
