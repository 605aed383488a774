import { PortcullisError, isPortcullisError } from '../../base/errors/index.ts';
import { parseDocuments, writeYaml } from '../../base/schema/index.ts';
import { claimsOf, linesOf, positionIn, readServices } from '../services/index.ts';
import type { Described, ServerKey, Service } from '../services/index.ts';
import type { EtcdClient } from './etcd/client.ts';
import type { Keys } from './records/records.ts';

/**
 * Implements `portcullis network overlay apply` and `rm`: writes descriptions of services into etcd, and
 * removes them.
 */

interface Spreading {
  readonly client: EtcdClient;
  readonly keys: Keys;
  /** Services in etcd, as last received. */
  readonly standing: () => Iterable<Service>;
}

/** Limits of etcd: 128 operations per transaction by default, and 1.5 MiB per request. */
const mostSteps = 100;
const mostBytes = 1024 * 1024;

/**
 * Writes the descriptions of a text, a hundred per transaction. Writes nothing when one of them is invalid,
 * or has an address and port of another service.
 * @returns names
 * @throws OVERLAY_SERVICES_INVALID · OVERLAY_ETCD_UNREACHABLE, which says how many were written before
 */
export async function spread(
  file: string,
  text: string,
  { client, keys, standing: existing }: Spreading,
): Promise<{ spread: string[] }> {
  const steps = readTexts(file, text, existing).map(([name, written]) => ({
    name,
    put: { key: keys.service(name), value: Buffer.from(written) },
  }));
  await inParts(
    steps,
    ({ put }) => put.value.length,
    async (some) =>
      client.transact(
        [],
        some.map(({ put }) => ({ put })),
      ),
  );
  return { spread: steps.map(({ name }) => name) };
}

/** @throws OVERLAY_SERVICE_UNKNOWN: nothing was removed · OVERLAY_ETCD_UNREACHABLE */
export async function takeBack(
  names: readonly string[],
  { client, keys }: Spreading,
): Promise<{ takenBack: readonly string[] }> {
  const distinct = [...new Set(names)];
  const unknown: string[] = [];
  for (const name of distinct) if ((await client.get(keys.service(name))) === undefined) unknown.push(name);
  if (unknown.length > 0) throw unknownService(unknown);
  await inParts(
    distinct,
    () => 0,
    async (some) =>
      client.transact(
        [],
        some.map((name) => ({ deleteRange: { key: keys.service(name) } })),
      ),
  );
  return { takenBack: distinct };
}

/**
 * Writes in transactions within etcd's limits. Earlier transactions stay when a later one fails, and the
 * error reports their number.
 */
async function inParts<Item>(
  items: readonly Item[],
  bytesOf: (item: Item) => number,
  act: (some: readonly Item[]) => Promise<unknown>,
): Promise<void> {
  let part: Item[] = [];
  let bytes = 0;
  let done = 0;
  const flush = async (): Promise<void> => {
    try {
      if (part.length > 0) await act(part);
    } catch (thrown) {
      throw isPortcullisError(thrown) ? halted(thrown, done, items.length) : thrown;
    }
    done += part.length;
    part = [];
    bytes = 0;
  };
  for (const item of items) {
    if (part.length === mostSteps || bytes + bytesOf(item) > mostBytes) await flush();
    part.push(item);
    bytes += bytesOf(item);
  }
  await flush();
}

/** Parses the text: one description per service, with the service's name. */
function readTexts(
  file: string,
  text: string,
  existing: Spreading['standing'],
): (readonly [string, string])[] {
  const { documents, problems: unread } = parseDocuments(text, file);
  if (unread.length > 0) throw invalidServices(file, linesOf(unread));
  const { described, problems } = readServices([{ file, text }]);
  if (problems.length > 0 || described.length === 0) throw invalidServices(file, linesOf(problems));
  // Every host refuses it as well: a client that may write to etcd is not root on the hosts.
  const programs = described
    .filter(({ service }) => service.healthCheck?.kind === 'exec')
    .map(({ service }) => service.name);
  if (programs.length > 0)
    throw invalidServices(file, [
      `${programs.join(', ')}: no host runs a program for another host; use a health check by tcp or http`,
    ]);
  const taken = conflictsOf(described, existing());
  if (taken.length > 0) throw invalidServices(file, taken);
  // Without problems, each document is one service, in the same order.
  return described.map(({ service: { name } }, index) => [name, writeYaml(documents[index]?.value)] as const);
}

/**
 * Reports services that request an address, protocol and port of another service, in etcd or earlier in the
 * text. Each host would refuse them.
 */
function conflictsOf(described: readonly Described[], existing: Iterable<Service>): string[] {
  const names = new Set(described.map(({ service: { name } }) => name));
  const holders = new Map<ServerKey, string>();
  for (const service of existing)
    if (!names.has(service.name)) for (const { key } of claimsOf(service)) holders.set(key, service.name);
  return described.flatMap(({ service, written }) => {
    const { name } = service;
    const claims = claimsOf(service);
    const taken = claims.find(({ key }) => (holders.get(key) ?? name) !== name);
    if (taken === undefined) {
      for (const { key } of claims) holders.set(key, name);
      return [];
    }
    const message = `${addressText(taken.key)} belongs to the service ${holders.get(taken.key) ?? ''}`;
    return linesOf([
      {
        position: positionIn(written, taken.field),
        path: `${name}: ${taken.field}`,
        message,
        fix: 'choose another',
      },
    ]);
  });
}

function addressText(key: ServerKey): string {
  const [, protocol = '', address = '', port = ''] = key.split(' ');
  return address === '*' ? `the node port ${port}/${protocol}` : `${address} port ${port}/${protocol}`;
}

function invalidServices(file: string, lines: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_SERVICES_INVALID',
    kind: 'invalid',
    attempted: 'publish services to the overlay',
    on: file,
    why: lines.length === 0 ? 'it describes no services' : lines.join('\n'),
    fix: 'correct it; nothing was published',
  });
}

function unknownService(names: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_SERVICE_UNKNOWN',
    kind: 'not-found',
    attempted: 'remove services from the overlay',
    on: names.join(', '),
    why: 'no such service is published',
    fix: 'see `portcullis service ls` for names; nothing was removed',
  });
}

/** Keeps the original error, with the progress added. */
function halted({ failure }: PortcullisError, done: number, of: number): PortcullisError {
  return new PortcullisError({ ...failure, why: `${failure.why}, after ${done} of ${of} services` });
}
