import { PortcullisError } from '../../base/errors/index.ts';
import { formatIp, parseIp } from '../spec/address.ts';
import { createContests } from './contests.ts';
import type { Claimant, Contests } from './contests.ts';
import { createIdentities } from './identities.ts';
import { addressHolder, isPortText, readHolding, readMembers, readVirtual, serviceName } from './network-services/records.ts';
import { encode, objectOf, readClaim, readSubnet } from './records.ts';
import type { Keys, OwnKey } from './records.ts';
import { familyOf } from './settings.ts';

/** A key of etcd in its current state, or as it was written. */
export interface Written {
  readonly key: string;
  readonly value: Buffer;
  readonly createRevision?: number;
  readonly modRevision?: number;
}

/** The change of a fact or a key. Without a value it was removed. */
export interface Changed {
  readonly key: string;
  readonly value: Buffer | undefined;
  readonly createRevision?: number;
  readonly modRevision?: number;
}

export interface Fact {
  readonly key: string;
  readonly value: Buffer;
}

/**
 * The combined facts of all hosts' keys. A host writes its own keys, and speaks only for itself. When two
 * hosts claim the same thing, the one whose key was created first has it. A claim that a host may not make,
 * or a value that cannot be read, is refused by its key and changes nothing else. Pure.
 */
export interface Ownership {
  /** Takes everything in etcd. @returns all facts, by the names of {@link Keys} */
  list(written: readonly Written[], revision: number): readonly Fact[];
  /** @returns the facts that changed, in this order */
  change(changes: readonly Changed[], revision: number): readonly Changed[];
  /**
   * Resolves when this view has seen all of etcd up to this revision. @throws OVERLAY_ETCD_UNREACHABLE when
   * that takes more than some seconds
   */
  reached(revision: number): Promise<void>;
  /** Returns the holder of the subnet: a host, or `(services)`. @param subnet canonical */
  subnetHolder(subnet: string): string | undefined;
  /** Returns all subnets that have a holder. */
  subnets(): ReadonlyMap<string, string>;
  /** Returns the service of each virtual address. */
  addresses(): ReadonlyMap<string, string>;
  addressHolder(address: string): string | undefined;
  portHolder(port: string): string | undefined;
  virtual(service: string): Claimant | undefined;
  /** Returns the keys that the host wrote. */
  keysOf(host: string): ReadonlySet<string>;
  /** Returns why the host's own record is refused; undefined when it is accepted or does not exist. */
  refusalOf(host: string): string | undefined;
  /** Returns the hosts whose daemon is of the former version, which writes facts as keys. */
  oldHosts(): readonly string[];
  /** Why a key of etcd is ignored, by key. */
  readonly refused: ReadonlyMap<string, string>;
}

/** Limits above what any host writes, so that one host cannot make this one hold unbounded data. */
const most = { keys: 16_384, bytes: 32 * 1024 * 1024, subnets: 8, shared: 16, identity: 8, refused: 1000 } as const;
const reachedWithinMs = 10_000;

interface OfHost {
  readonly keys: Map<string, number>;
  bytes: number;
  readonly counts: Map<OwnKey['kind'], number>;
  /** The host's claims of subnets, by key. */
  readonly subnets: Map<string, { readonly subnet: string; readonly claimant: Claimant }>;
  /** Those that count: the oldest of each family. */
  counted: Map<string, string>;
}

export function createOwnership(keys: Keys): Ownership {
  const hosts = new Map<string, OfHost>();
  const identities = createIdentities();
  const contests = { subnet: createContests(), virtual: createContests(), address: createContests(), port: createContests() } as const;
  const factOf = { subnet: keys.subnet, virtual: keys.virtual, address: keys.address, port: keys.port } as const;
  const facts = new Map<string, Buffer>();
  const refused = new Map<string, string>();
  /** Records in the form of the former version, of hosts that have no other record. */
  const old = new Map<string, Required<Written>>();
  const recordRefusals = new Map<string, string>();
  const waiting = new Set<{ readonly revision: number; readonly resolve: () => void }>();
  let seen = -1;
  let changed: Changed[] = [];

  const hostOf = (name: string): OfHost => {
    const found = hosts.get(name) ?? { keys: new Map(), bytes: 0, counts: new Map(), subnets: new Map(), counted: new Map() };
    hosts.set(name, found);
    return found;
  };
  const refuse = (key: string, why: string): void => {
    if (refused.size < most.refused) refused.set(key, why);
  };
  const say = (key: string, value: Buffer | undefined): void => {
    const former = facts.get(key);
    if (value === undefined ? former === undefined : former?.equals(value) === true) return;
    if (value === undefined) facts.delete(key);
    else facts.set(key, value);
    changed.push({ key, value });
  };
  const settle = (): void => {
    for (const [host, { value, refused: why }] of identities.settle()) {
      say(keys.host(host), value);
      const key = keys.own(host).record;
      if (why === undefined) {
        recordRefusals.delete(host);
        refused.delete(key);
      } else {
        recordRefusals.set(host, why);
        refuse(key, why);
      }
    }
  };

  /** Applies a claim: the winner's value is the fact. @param key of the claim that was added or removed */
  const contest = (kind: keyof typeof contests, name: string, key: string, act: (all: Contests) => void): void => {
    const all = contests[kind];
    const before = all.winner(name);
    act(all);
    const winner = all.winner(name);
    if (kind === 'subnet') {
      const concerned = before?.key === winner?.key ? [all.claimant(name, key)] : all.claimants(name);
      for (const each of concerned) if (each !== undefined && winner !== undefined) judge(name, each, winner);
    }
    say(factOf[kind](name), winner?.value);
  };
  const judge = (subnet: string, { key, host }: Claimant, winner: Claimant): void => {
    if (key !== winner.key && host !== '' && isOther(winner, host, key))
      refuse(key, `${subnet} is ${holderOf(winner)}'s, whose claim is older`);
    else refused.delete(key);
  };
  /** Hosts that share a subnet for virtual addresses do not compete for it. */
  const isOther = (winner: Claimant, host: string, key: string): boolean =>
    readClaim(winner.value)?.host === addressHolder
      ? keys.readOwn(key)?.kind === 'subnets'
      : winner.host !== host && holderOf(winner) !== host;

  /** Counts the oldest subnet per family of a host. A host gains nothing by claiming more. */
  const recount = (name: string): void => {
    const host = hostOf(name);
    const counted = new Map<string, string>();
    const families = new Set<number>();
    const inOrder = [...host.subnets].toSorted(([, one], [, other]) => one.claimant.createRevision - other.claimant.createRevision);
    for (const [key, { subnet }] of inOrder) {
      if (families.has(familyOf(subnet))) {
        refuse(key, `${subnet} is one more than the subnet that the host ${name} has`);
        continue;
      }
      families.add(familyOf(subnet));
      refused.delete(key);
      counted.set(key, subnet);
    }
    const former = host.counted;
    host.counted = counted;
    for (const [key, subnet] of former) if (counted.get(key) !== subnet) contest('subnet', subnet, key, (all) => all.gone(subnet, key));
    for (const [key, subnet] of counted) {
      const claimant = host.subnets.get(key)?.claimant;
      if (claimant !== undefined) contest('subnet', subnet, key, (all) => all.put(subnet, claimant));
    }
  };

  /** @returns whether the host may have this key */
  const admit = (own: OwnKey, { key, value }: Written): boolean => {
    const host = hostOf(own.host);
    const former = host.keys.get(key);
    const size = key.length + value.length;
    const limit =
      own.kind === 'subnets' ? most.subnets : own.kind === 'shared' ? most.shared : own.kind === 'identity' ? most.identity : most.keys;
    const count = host.counts.get(own.kind) ?? 0;
    if (host.bytes - (former ?? 0) + size > most.bytes || (former === undefined && (host.keys.size >= most.keys || count >= limit))) {
      refuse(key, `the host ${own.host} has more keys than a host may have`);
      return false;
    }
    if (former === undefined) host.counts.set(own.kind, count + 1);
    host.keys.set(key, size);
    host.bytes += size - (former ?? 0);
    return true;
  };
  const dismiss = (own: OwnKey, key: string): boolean => {
    const host = hosts.get(own.host);
    const size = host?.keys.get(key);
    if (host === undefined || size === undefined) return false;
    host.keys.delete(key);
    host.bytes -= size;
    host.counts.set(own.kind, (host.counts.get(own.kind) ?? 1) - 1);
    return true;
  };

  const putOwn = (own: OwnKey, written: Required<Written>): void => {
    const { key, value, createRevision, modRevision } = written;
    const { host, kind, name, of } = own;
    if (!admit(own, written)) return;
    refused.delete(key);
    const claimant = (fact: Buffer): Claimant => ({ host, key, createRevision, modRevision, value: fact });
    const said = objectOf(value)?.['host'];
    if (said !== undefined && said !== host) return void refuse(key, `it speaks for the host ${JSON.stringify(said).slice(0, 80)}`);
    switch (kind) {
      case 'record':
        old.delete(host);
        identities.offer(host, { key, value, createRevision, isOld: false });
        return settle();
      case 'identity':
        identities.claim(name, claimant(value));
        return settle();
      case 'subnets':
      case 'shared': {
        const subnet = readSubnet(name);
        if (subnet === undefined) return void refuse(key, 'it is no subnet');
        if (kind === 'shared')
          return contest('subnet', subnet, key, (all) => all.put(subnet, claimant(encode({ host: addressHolder, id: '' }))));
        const { id } = objectOf(value) ?? {};
        if (typeof id !== 'string') return void refuse(key, 'it cannot be read');
        hostOf(host).subnets.set(key, { subnet, claimant: claimant(encode({ host, id })) });
        return recount(host);
      }
      case 'virtual':
        if (!serviceName.test(name) || readVirtual(Buffer.from(of, 'base64url')) === undefined) return void refuse(key, 'it is no service');
        return contest('virtual', name, key, (all) => all.put(name, claimant(Buffer.from(of, 'base64url'))));
      case 'addresses':
      case 'ports': {
        if (!serviceName.test(of) || !(kind === 'ports' ? isPortText(name) : isAddress(name)))
          return void refuse(key, 'it is no claim of a service');
        return contest(kind === 'ports' ? 'port' : 'address', name, key, (all) => all.put(name, claimant(encode({ service: of }))));
      }
      case 'holders':
        if (readHolding(value) === undefined || !serviceName.test(name)) return void refuse(key, 'it cannot be read');
        return say(keys.holder(name, host), value);
      case 'members':
        if (readMembers(value) === undefined || !serviceName.test(name)) return void refuse(key, 'it cannot be read');
        return say(keys.members(name, host), value);
    }
  };

  const goneOwn = (own: OwnKey, key: string): void => {
    const { host, kind, name } = own;
    refused.delete(key);
    if (!dismiss(own, key)) return;
    switch (kind) {
      case 'record': {
        identities.withdraw(host);
        recordRefusals.delete(host);
        return settle();
      }
      case 'identity':
        identities.unclaim(name, host);
        return settle();
      case 'subnets':
        hostOf(host).subnets.delete(key);
        return recount(host);
      case 'shared': {
        const subnet = readSubnet(name);
        return subnet === undefined ? undefined : contest('subnet', subnet, key, (all) => all.gone(subnet, key));
      }
      case 'virtual':
        return contest('virtual', name, key, (all) => all.gone(name, key));
      case 'addresses':
        return contest('address', name, key, (all) => all.gone(name, key));
      case 'ports':
        return contest('port', name, key, (all) => all.gone(name, key));
      case 'holders':
        return say(keys.holder(name, host), undefined);
      case 'members':
        return say(keys.members(name, host), undefined);
    }
  };

  /**
   * Handles keys without a host: those of an administrator, and of hosts of the previous version. Services
   * that such hosts joined are not read.
   */
  const putOther = (written: Required<Written>): void => {
    const { key, value, createRevision, modRevision } = written;
    const read = keys.read(key);
    if (key === keys.network || read.kind === 'service') return say(key, value);
    if (read.kind === 'host') {
      if (hosts.get(read.host)?.keys.has(keys.own(read.host).record) === true) return;
      old.set(read.host, written);
      identities.offer(read.host, { key, value, createRevision, isOld: true });
      return settle();
    }
    if (read.kind !== 'subnet') return;
    const subnet = readSubnet(read.subnet);
    if (subnet === undefined || readClaim(value) === undefined) return void refuse(key, 'it cannot be read');
    refused.delete(key);
    contest('subnet', subnet, key, (all) => all.put(subnet, { host: '', key, createRevision, modRevision, value }));
  };
  const goneOther = (key: string): void => {
    const read = keys.read(key);
    refused.delete(key);
    if (key === keys.network || read.kind === 'service') return say(key, undefined);
    if (read.kind === 'host' && old.delete(read.host)) {
      identities.withdraw(read.host);
      return settle();
    }
    const subnet = read.kind === 'subnet' ? readSubnet(read.subnet) : undefined;
    if (subnet !== undefined) contest('subnet', subnet, key, (all) => all.gone(subnet, key));
  };

  const apply = ({ key, value, createRevision = 0, modRevision = 0 }: Changed): void => {
    const own = keys.readOwn(key);
    if (value === undefined) return own === undefined ? goneOther(key) : goneOwn(own, key);
    const written = { key, value, createRevision, modRevision };
    return own === undefined ? putOther(written) : putOwn(own, written);
  };
  const reach = (revision: number): void => {
    seen = revision;
    for (const each of waiting)
      if (each.revision <= seen) {
        waiting.delete(each);
        each.resolve();
      }
  };
  const services = (all: Contests): Map<string, string> =>
    new Map([...all.names()].flatMap((name) => serviceIn(all.winner(name)).map((service) => [name, service] as const)));

  return {
    refused,
    list(written, revision) {
      for (const each of [hosts, facts, refused, old, recordRefusals]) each.clear();
      for (const each of [identities, ...Object.values(contests)]) each.clear();
      // Own records are applied before those of the former version: a host that has both is of this version.
      for (const each of written) if (keys.readOwn(each.key) !== undefined) apply(each);
      for (const each of written) if (keys.readOwn(each.key) === undefined) apply(each);
      changed = [];
      reach(revision);
      return [...facts].map(([key, value]) => ({ key, value }));
    },
    change(changes, revision) {
      for (const each of changes) apply(each);
      const found = changed;
      changed = [];
      reach(revision);
      return found;
    },
    reached(revision) {
      if (seen >= revision) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const entry = {
          revision,
          resolve: () => {
            clearTimeout(late);
            resolve();
          },
        };
        const late = setTimeout(() => {
          waiting.delete(entry);
          reject(unseen(keys.all));
        }, reachedWithinMs);
        late.unref();
        waiting.add(entry);
      });
    },
    subnetHolder(subnet) {
      const winner = contests.subnet.winner(subnet);
      return winner && holderOf(winner);
    },
    subnets: () =>
      new Map(
        [...contests.subnet.names()].flatMap((name) => {
          const winner = contests.subnet.winner(name);
          return winner === undefined ? [] : [[name, holderOf(winner)] as const];
        }),
      ),
    addresses: () => services(contests.address),
    addressHolder: (address) => serviceIn(contests.address.winner(address))[0],
    portHolder: (port) => serviceIn(contests.port.winner(port))[0],
    virtual: (service) => contests.virtual.winner(service),
    keysOf: (host) => new Set(hosts.get(host)?.keys.keys()),
    refusalOf: (host) => recordRefusals.get(host),
    oldHosts: () => [...old.keys()],
  };
}

const isAddress = (text: string): boolean => {
  const address = parseIp(text);
  return address !== undefined && formatIp(address) === text;
};

const holderOf = ({ value }: Claimant): string => readClaim(value)?.host ?? '';

function serviceIn(claimant: Claimant | undefined): string[] {
  const service = claimant && objectOf(claimant.value)?.['service'];
  return typeof service === 'string' ? [service] : [];
}

function unseen(prefix: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_ETCD_UNREACHABLE',
    kind: 'unavailable',
    attempted: 'see what this host wrote',
    on: prefix,
    why: `the watch did not bring it within ${reachedWithinMs / 1000} s`,
    fix: 'see that etcd runs and has a leader; it is tried again',
  });
}
