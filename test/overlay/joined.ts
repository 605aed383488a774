import { connect } from 'node:net';
import { until } from './hosts.ts';
import type { Host, Pod } from './hosts.ts';

/** Services that pods of several hosts join, seen from pods and from the hosts. */

export const web = { name: 'web', aliases: ['front'], ports: ['80:7000'], ingressPorts: ['30080:7000'] };

/** Returns the names of the pods that answer at the address. */
const whoAnswers = async (from: Pod, address: string, times: number, port = 80): Promise<string[]> =>
  [...new Set(await from.ask<string[]>({ do: 'who', address, port, times }))].toSorted();

/** Checks that exactly these pods answer, each within two rounds. */
export async function answeredBy(
  from: Pod,
  address: string,
  names: readonly string[],
  port = 80,
): Promise<void> {
  let found = '';
  await until(`${from.name} meets ${names.join(', ')} at ${address}:${port}`, async () => {
    found = (await whoAnswers(from, address, 2 * names.length, port)).join();
    return found === names.toSorted().join();
  }).catch((thrown: unknown) => {
    throw new Error(`${(thrown as Error).message}; met ${found}`);
  });
}

/** Checks that the name has exactly these addresses. */
export async function namedAs(pod: Pod, name: string, addresses: readonly string[]): Promise<void> {
  let found: string[] = [];
  await until(`${pod.name} finds ${name} at ${addresses.join(', ')}`, () => {
    found = pod.lookUp(name);
    return found.join() === addresses.toSorted().join();
  }).catch((thrown: unknown) => {
    throw new Error(`${(thrown as Error).message}; found ${found.join()}`);
  });
}

/** Returns the virtual addresses of a name. */
export async function virtualOf(pod: Pod, name: string, count = 2): Promise<string[]> {
  await until(`${pod.name} finds ${name}`, () => pod.lookUp(name).length === count);
  return pod.lookUp(name);
}

/** Connects from the switch, which is not a host: to the ingress port of the host's own address. */
const fromOutside = (host: Host, port: number): Promise<string> =>
  new Promise((resolve) => {
    const socket = connect({ host: host.underlay, port });
    socket.setTimeout(5000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (bytes) => {
      resolve(bytes.toString().trim());
      socket.destroy();
    });
    socket.on('error', (error) => resolve(`error: ${error.message}`));
  });

export async function publishedBy(host: Host, port: number, names: readonly string[]): Promise<void> {
  let found = '';
  await until(`${host.name} serves ${port} by ${names.join(', ')}`, async () => {
    const met = new Set<string>();
    for (let time = 0; time < 2 * names.length; time += 1) met.add(await fromOutside(host, port));
    found = [...met].toSorted().join();
    return found === names.toSorted().join();
  }).catch((thrown: unknown) => {
    throw new Error(`${(thrown as Error).message}; met ${found}`);
  });
}

/** Checks that a program of the host itself reaches all of them. */
export async function reachedBy(host: Host, address: string, names: readonly string[]): Promise<void> {
  let found = '';
  await until(`a program of ${host.name} meets ${names.join(', ')} at ${address}`, () => {
    const met = names
      .flatMap((_, time) => [time, -time])
      .map(() => host.run(`timeout 5 busybox nc -w 2 ${address} 80 </dev/null || true`).trim());
    found = [...new Set(met)].toSorted().join();
    return found === names.toSorted().join();
  }).catch((thrown: unknown) => {
    throw new Error(`${(thrown as Error).message}; met ${found}`);
  });
}

/**
 * Installs the rules that apply where hosts encrypt (`cni-plugins/overlay/data-plane/guard.ts`), around the
 * link that does not. @returns a function that removes them
 */
export async function guarded(host: Host): Promise<() => void> {
  const { subnets } = await host.status();
  const rules = [
    ['ip', '10.128.0.0/14', subnets[0]],
    ['ip6', 'fd00:10:128::/48', subnets[1]],
  ].map(
    ([family, all, own]) => `table ${family} test-guard {
      chain coming { type filter hook prerouting priority -300; iifname != "portcullis-vx" ${family} saddr ${all} ${family} saddr != ${own} drop; }
      chain leaving { type filter hook postrouting priority 300; oifname != "portcullis-vx" ${family} daddr ${all} ${family} daddr != ${own} drop; }; }`,
  );
  host.run(`nft '${rules.join('\n')}'`);
  return () => host.run("nft 'delete table ip test-guard; delete table ip6 test-guard'");
}
