import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { networkName } from './endpoint.ts';

/**
 * Returns the links of pods: each pod has a pair, and one link for its limits if the plugin `bandwidth` is a
 * program.
 */
export function linksLeft(): string[] {
  return ['veth', 'ifb'].flatMap((kind) => {
    const links = execFileSync('ip', ['-json', 'link', 'show', 'type', kind], { encoding: 'utf8' });
    // For links of other types it prints empty objects if the kernel does not support the type.
    const reported = JSON.parse(links) as readonly { readonly ifname?: string }[];
    return reported.flatMap(({ ifname }) => (ifname === undefined ? [] : [`link ${ifname}`]));
  });
}

/**
 * Returns what third-party programs left of pods that are gone: leased addresses, and rules that name one.
 * @param leases the folder of host-local. @throws when it leased no address: then the chain never ran
 */
export function leftByChain(leases: string): string[] {
  const names = readdirSync(join(leases, networkName));
  if (!names.some((name) => name.startsWith('last_reserved_ip')))
    throw new Error(`${leases}: no address was ever leased`);
  const addresses = names.filter((name) => /^\d+(?:\.\d+){3}$/u.test(name));
  const rules = [
    execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
    execFileSync('iptables-save', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  ];
  const ofPods = rules
    .flatMap((text) => text.split('\n'))
    .filter((line) => /\b10\.87\.\d+\.\d+(?!\d|\/16)/u.test(line));
  return [
    ...addresses.map((address) => `${address}, leased`),
    ...ofPods.map((line) => `rule: ${line.trim()}`),
  ];
}
