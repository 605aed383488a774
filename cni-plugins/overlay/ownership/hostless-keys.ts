import type { Facts, Written } from './facts.ts';
import type { HostQuotas } from './host-quotas.ts';
import type { HostRecords } from './host-records.ts';
import { readClaim, readSubnet } from '../records/records.ts';
import type { Keys } from '../records/records.ts';
import type { Refusals } from './refusals.ts';
import type { SubnetClaims } from './subnet-claims.ts';

/**
 * Applies keys without a host: those of an administrator, and of hosts of the previous version. Services that
 * such hosts joined are not read.
 */

export interface HostlessKeysDeps {
  readonly keys: Keys;
  readonly facts: Facts;
  readonly refusals: Refusals;
  readonly quotas: Pick<HostQuotas, 'has'>;
  readonly records: HostRecords;
  readonly subnets: SubnetClaims;
}

/** Applies the key, or refuses it when its value cannot be read. */
export function putHostless(
  { keys, facts, refusals, quotas, records, subnets }: HostlessKeysDeps,
  written: Required<Written>,
): void {
  const { key, value, createRevision, modRevision } = written;
  const read = keys.read(key);
  if (key === keys.network || read.kind === 'service') return facts.say(key, value);
  if (read.kind === 'host') {
    if (!quotas.has(read.host, keys.own(read.host).record)) records.putOld(read.host, written);
    return;
  }
  if (read.kind !== 'subnet') return;
  const subnet = readSubnet(read.subnet);
  if (subnet === undefined || readClaim(value) === undefined)
    return refusals.refuse(key, 'it cannot be read');
  refusals.lift(key);
  subnets.contend(subnet, { host: '', key, createRevision, modRevision, value });
}

/** Withdraws the claim of the key. */
export function removeHostless(
  { keys, facts, refusals, records, subnets }: HostlessKeysDeps,
  key: string,
): void {
  const read = keys.read(key);
  refusals.lift(key);
  if (key === keys.network || read.kind === 'service') return facts.say(key, undefined);
  if (read.kind === 'host') return records.goneOld(read.host);
  const subnet = read.kind === 'subnet' ? readSubnet(read.subnet) : undefined;
  if (subnet !== undefined) subnets.withdraw(subnet, key);
}
