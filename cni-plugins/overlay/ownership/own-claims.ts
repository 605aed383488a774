import { formatIp, parseIp } from '../../../base/addresses/index.ts';
import type { Claimant, Contests } from './contests.ts';
import type { Facts, Written } from './facts.ts';
import type { HostQuotas } from './host-quotas.ts';
import type { HostRecords } from './host-records.ts';
import {
  addressHolder,
  isPortText,
  readHolding,
  readMembers,
  readVirtual,
  serviceName,
} from '../records/service-records.ts';
import { encode, objectOf, readSubnet } from '../records/records.ts';
import type { Keys, OwnKey } from '../records/records.ts';
import type { Refusals } from './refusals.ts';
import type { SubnetClaims } from './subnet-claims.ts';

/** Applies keys that hosts wrote under their own name. A host can make claims only for itself. */

export interface OwnClaimsDeps {
  readonly keys: Keys;
  readonly facts: Facts;
  readonly refusals: Refusals;
  readonly quotas: HostQuotas;
  readonly records: HostRecords;
  readonly subnets: SubnetClaims;
  /** Claims of services, of their virtual addresses, and of their ingress ports. */
  readonly services: Readonly<Record<'virtual' | 'address' | 'port', Contests>>;
}

/** Applies the key, or refuses it when the host may not write it, or its value cannot be read. */
export function putOwn(
  deps: OwnClaimsDeps,
  own: OwnKey,
  written: Required<Written>,
  isOverQuota: boolean,
): void {
  const { keys, facts, refusals, quotas, records, services } = deps;
  const { key, value, createRevision, modRevision } = written;
  const { host, kind, name, of } = own;
  reserve(deps, own, written);
  if (isOverQuota || !quotas.admit(own, written)) return;
  refusals.lift(key);
  const claimant = (fact: Buffer): Claimant => ({ host, key, createRevision, modRevision, value: fact });
  const said = objectOf(value)?.['host'];
  if (said !== undefined && said !== host)
    return refusals.refuse(key, `it is written for the host ${JSON.stringify(said).slice(0, 80)}`);
  switch (kind) {
    case 'record':
      return records.put(host, written);
    case 'identity':
      return records.claim(name, claimant(value));
    case 'subnets':
    case 'shared':
      return putSubnet(deps, own, value, claimant);
    case 'virtual':
      if (!serviceName.test(name) || readVirtual(Buffer.from(of, 'base64url')) === undefined)
        return refusals.refuse(key, 'it is not a service');
      return services.virtual.put(name, claimant(Buffer.from(of, 'base64url')));
    case 'addresses':
    case 'ports': {
      if (!serviceName.test(of) || !(kind === 'ports' ? isPortText(name) : isAddress(name)))
        return refusals.refuse(key, 'it is not a claim of a service');
      return services[kind === 'ports' ? 'port' : 'address'].put(name, claimant(encode({ service: of })));
    }
    case 'holders':
      if (readHolding(value) === undefined || !serviceName.test(name))
        return refusals.refuse(key, 'it cannot be read');
      return facts.say(keys.holder(name, host), value);
    case 'members':
      if (readMembers(value) === undefined || !serviceName.test(name))
        return refusals.refuse(key, 'it cannot be read');
      return facts.say(keys.members(name, host), value);
  }
}

/** Keeps a claim on a subnet also if it is refused: its host can make it count later. */
function reserve({ subnets }: OwnClaimsDeps, own: OwnKey, written: Required<Written>): void {
  const subnet = subnetOf(own);
  if (subnet === undefined) return;
  const host = own.kind === 'shared' ? addressHolder : own.host;
  subnets.reserve(subnet, { ...written, host: own.host, value: encode({ host, id: '' }) });
}

const subnetOf = ({ kind, name }: OwnKey): string | undefined =>
  kind === 'subnets' || kind === 'shared' ? readSubnet(name) : undefined;

function putSubnet(
  { refusals, subnets }: OwnClaimsDeps,
  { host, kind, name }: OwnKey,
  value: Buffer,
  claimant: (fact: Buffer) => Claimant,
): void {
  const { key } = claimant(value);
  const subnet = readSubnet(name);
  if (subnet === undefined) return refusals.refuse(key, 'it is not a subnet');
  if (kind === 'shared') return subnets.contend(subnet, claimant(encode({ host: addressHolder, id: '' })));
  const { id } = objectOf(value) ?? {};
  if (typeof id !== 'string') return refusals.refuse(key, 'it cannot be read');
  subnets.claim(host, subnet, claimant(encode({ host, id })));
}

/** Withdraws the claim of the key. */
export function removeOwn(
  { keys, facts, refusals, quotas, records, subnets, services }: OwnClaimsDeps,
  own: OwnKey,
  key: string,
): void {
  const { host, kind, name } = own;
  refusals.lift(key);
  const subnet = subnetOf(own);
  if (subnet !== undefined) subnets.forget(subnet, key);
  if (!quotas.dismiss(own, key)) return;
  switch (kind) {
    case 'record':
      return records.gone(host);
    case 'identity':
      return records.unclaim(name, host);
    case 'subnets':
      return subnets.unclaim(host, key);
    case 'shared':
      return subnet === undefined ? undefined : subnets.withdraw(subnet, key);
    case 'virtual':
      return services.virtual.gone(name, key);
    case 'addresses':
      return services.address.gone(name, key);
    case 'ports':
      return services.port.gone(name, key);
    case 'holders':
      return facts.say(keys.holder(name, host), undefined);
    case 'members':
      return facts.say(keys.members(name, host), undefined);
  }
}

const isAddress = (text: string): boolean => {
  const address = parseIp(text);
  return address !== undefined && formatIp(address) === text;
};
