import { join } from 'node:path';
import { PortcullisError, fileReason, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { readPlainFileSync } from '../../base/files/index.ts';
import type { CniResult } from '../spec/result.ts';
import type { LeasedAddress, Resource } from '../plugins/contract/contract.ts';
import type { AttachmentKey } from '../spec/attachment-key.ts';
import { parseResolvConf } from '../plugins/ipam/read.ts';
import { kindOf } from '../plugins/registry.ts';
import type { AddressSource, GivenAddresses, LeaseSource } from '../networks/addresses.ts';
import type { Host } from '../namespaces/caller.ts';
import type { NetworkDatabase } from '../database/database.ts';
import { foreignAddresses, freeForeignAddresses } from '../database/foreign-store.ts';
import { createLeases } from '../database/leases.ts';
import type { Holder, LeaseRequest } from '../database/leases.ts';
import { leasedAddressesOf } from '../plugins/interface/leased-addresses.ts';

/**
 * Addresses and host ports of plugin calls: from the database, from upstream's store, or from a third-party
 * program.
 */
export interface Addressing {
  /**
   * Call it inside a transaction.
   * @throws NETWORK_ADDRESSES_EXHAUSTED · NETWORK_ADDRESS_TAKEN · NETWORK_ADDRESS_OUT_OF_RANGE ·
   * NETWORK_STORE_UNUSABLE
   */
  lease(source: AddressSource, wanted: Wanted): GivenAddresses;
  /** Converts the result of a third-party program. */
  delegated(result: CniResult): GivenAddresses;
  /** Call it inside a transaction. @throws NETWORK_HOST_PORT_TAKEN */
  takeHostPorts(host: Host, resources: readonly Resource[], holder: Holder): void;
  /**
   * Returns the addresses that the next attachment would get, or why none can be leased. Leases nothing.
   * @throws NETWORK_STORE_UNUSABLE
   */
  next(
    source: AddressSource,
    wanted: Pick<Wanted, 'host'> & { readonly network: string },
  ): { readonly addresses: readonly LeasedAddress[] } | { readonly exhausted: string };
  /** Releases an address that upstream's store holds for the key. */
  freeForeign(source: LeaseSource, key: AttachmentKey, host: Host): void;
  collectForeign(source: LeaseSource, network: string, valid: ReadonlySet<string>, host: Host): void;
}

interface Wanted {
  readonly host: Host;
  readonly key: AttachmentKey;
  readonly holder: Holder;
}

const nothing: GivenAddresses = { addresses: [], routes: [], dns: {} };

export function createAddressing(database: NetworkDatabase): Addressing {
  const leases = createLeases(database);

  const requestOf = (source: LeaseSource, host: Host, network: string): LeaseRequest => ({
    namespaceId: host.namespaceId,
    scope: '',
    network,
    rangeSets: source.rangeSets,
    wanted: source.wanted,
    taken: inStore(source, { host, network }, (dataDir) => foreignAddresses(dataDir, network)),
  });

  return {
    lease(source, { host, key, holder }) {
      if (source.from === 'plugin') return source.lease();
      if (source.from !== 'ranges') return nothing;
      const request = requestOf(source, host, key.network);
      const choices = leases.choose(request);
      leases.lease(request, choices, holder);
      return {
        addresses: leased(choices),
        routes: source.routes,
        dns: source.resolvConf === undefined ? {} : dnsOf(source.resolvConf, host),
      };
    },
    delegated: (result) => ({
      addresses: leasedAddressesOf(result),
      routes: result.routes,
      dns: result.dns,
    }),
    takeHostPorts(host, resources, holder) {
      for (const resource of resources) {
        const ports = kindOf(resource).hostPorts?.(resource) ?? [];
        leases.takeHostPorts(
          host.namespaceId,
          ports.map((port) => ({ ...port, containerPort: 0 })),
          holder,
        );
      }
    },
    next(source, { host, network }) {
      if (source.from === 'plugin') return source.lease();
      if (source.from !== 'ranges') return nothing;
      try {
        const { wanted: _wanted, ...request } = requestOf(source, host, network);
        return { addresses: leased(leases.choose(request)) };
      } catch (thrown) {
        if (isPortcullisError(thrown) && thrown.code === 'NETWORK_ADDRESSES_EXHAUSTED')
          return { exhausted: reasonOf(thrown) };
        throw thrown;
      }
    },
    freeForeign: (source, key, host) =>
      inStore(source, { host, network: key.network }, (dataDir) =>
        freeForeignAddresses(
          dataDir,
          key.network,
          (id, name) => id === key.containerId && (name === undefined || name === key.interface),
        ),
      ),
    collectForeign: (source, network, valid, host) =>
      inStore(source, { host, network }, (dataDir) =>
        freeForeignAddresses(
          dataDir,
          network,
          (id, name) => name !== undefined && !valid.has(`${id}\0${name}`),
        ),
      ),
  };
}

const leased = (choices: ReturnType<ReturnType<typeof createLeases>['choose']>): LeasedAddress[] =>
  choices
    .toSorted((a, b) => a.address.family - b.address.family)
    .map(({ address, range }) => ({
      address: { address, length: range.subnet.length },
      gateway: range.gateway,
      subnet: range.subnet,
    }));

/** Returns the folder with the addresses of a network. */
export const storeOf = ({ dataDir }: LeaseSource, network: string): string => join(dataDir, network);

/**
 * Runs `body` on the folder of the store of the upstream plugin.
 * @throws NETWORK_STORE_UNUSABLE · NETWORK_PATH_NO_ANSWER
 */
function inStore<T>(source: LeaseSource, { host, network }: InStore, body: (dataDir: string) => T): T {
  const { dataDir } = source;
  host.path(storeOf(source, network));
  const path = host.path(dataDir);
  try {
    return body(path);
  } catch (thrown) {
    throw new PortcullisError({
      code: 'NETWORK_STORE_UNUSABLE',
      kind: 'precondition',
      attempted: 'look for addresses of the plugin host-local in',
      on: dataDir,
      why: fileReason(thrown, (thrown as NodeJS.ErrnoException).path ?? path),
      fix: "make the folder readable and writable, or give another one as 'dataDir'",
    });
  }
}

interface InStore {
  readonly host: Host;
  readonly network: string;
}

const mostDnsBytes = 1024 * 1024;

function dnsOf(file: string, host: Host): CniResult['dns'] {
  const path = host.path(file);
  try {
    return parseResolvConf(readPlainFileSync(path, mostDnsBytes));
  } catch (thrown) {
    throw new PortcullisError({
      code: 'NETWORK_CONFIG_INVALID',
      kind: 'invalid',
      attempted: 'read the DNS settings',
      on: file,
      why: fileReason(thrown, path),
      fix: "correct 'resolvConf' of the address plugin's configuration",
    });
  }
}
