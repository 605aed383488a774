import { parseJson } from '../../../base/json/index.ts';
import { deleteElements, deleteTable } from '../../../base/netlink/index.ts';
import type { Request } from '../../../base/netlink/index.ts';
import type { RefusedService, Service } from '../../../cni-plugins/services/model/model.ts';
import type { Client } from '../engine/client.ts';
import { troubles } from '../engine/faults.ts';
import { jumpByHours, troubleAmong } from '../engine/node-steps.ts';
import { hold } from '../engine/invariants.ts';
import type { Choices, Step } from '../engine/play-steps.ts';
import { drawService, isTaken, mostServices, sourceOf, withBackends } from './declared.ts';
import type { Declared } from './declared.ts';
import { createNfTables } from './nf-tables.ts';
import type { ServicesNode, ServicesWorld } from './services-node.ts';
import { loseThreads } from './threads.ts';

export interface Play extends Choices {
  readonly world: ServicesWorld;
  readonly client: Client<ServicesNode>;
  readonly declared: Map<string, Declared>;
  /** Another program has changed the kernel's state: the product restores it within a minute. */
  meddling: 'never' | 'now' | 'before';
}

/** Declares through the interface of the source. @param whole these are all services of the source */
async function report(
  { services }: ServicesNode,
  source: string,
  all: readonly Service[],
  whole: boolean,
): Promise<readonly RefusedService[]> {
  if (source !== 'command') return whole ? services.replace(source, all) : services.put(source, all);
  const answer = await services.ask(JSON.stringify({ do: 'apply', services: all }));
  return (parseJson(answer) as { readonly refused: readonly RefusedService[] }).refused;
}

function note({ declared }: Play, source: string, service: Service): void {
  declared.set(service.name, { source, service, drained: declared.get(service.name)?.drained ?? new Set() });
}

async function put(play: Play, service: Service, source: string): Promise<void> {
  const { client, declared } = play;
  const refused = await client.call(`declaration of ${service.name}`, (n) =>
    report(n, source, [service], false),
  );
  if (!isTaken(declared, service)) {
    hold(
      'true services',
      refused.length === 0,
      () => `${service.name} is refused: ${JSON.stringify(refused)}`,
    );
    note(play, source, service);
    return;
  }
  const [one] = refused;
  hold(
    'name reservation',
    one?.code === 'NETWORK_SERVICE_ADDRESS_TAKEN',
    `${service.name} has an address of another service`,
  );
}

function declare(play: Play): Promise<void> {
  const index = play.choose('service', mostServices);
  return put(play, drawService(play, index), sourceOf(index));
}

function declareTaken(play: Play): Promise<void> {
  const index = play.choose('service', mostServices);
  return put(play, drawService(play, index, true), sourceOf(index));
}

/** Adds and removes endpoints. */
async function changeBackends(play: Play): Promise<void> {
  const one = play.pick('service', [...play.declared.values()]);
  if (one !== undefined) await put(play, withBackends(one.service, play), one.source);
}

/** Sends requests of several sources at a time. */
async function declareBeside(play: Play): Promise<void> {
  const { client, declared } = play;
  const free = Array.from(
    { length: mostServices },
    (_, index) => [drawService(play, index), sourceOf(index)] as const,
  ).filter(([service]) => !isTaken(declared, service));
  await client.drive(
    Promise.all(
      free.map(async ([service, source]) => {
        const refused = await client.start(`declaration of ${service.name}`, (n) =>
          report(n, source, [service], false),
        );
        hold(
          'true services',
          refused.length === 0,
          () => `${service.name} is refused: ${JSON.stringify(refused)}`,
        );
        note(play, source, service);
      }),
    ),
  );
}

/** Replaces all services of docker. */
async function replaceAll(play: Play): Promise<void> {
  const { client, declared, choose } = play;
  const others = new Map([...declared].filter(([, one]) => one.source !== 'docker'));
  const all = Array.from({ length: mostServices }, (_, index) => index)
    .filter((index) => sourceOf(index) === 'docker' && choose('has it', 2) === 1)
    .map((index) => drawService(play, index))
    .filter((service) => !isTaken(others, service));
  const refused = await client.call('replacement of what docker has', (n) => report(n, 'docker', all, true));
  hold('true services', refused.length === 0, () => `a replacement is refused: ${JSON.stringify(refused)}`);
  const names = new Set(all.map(({ name }) => name));
  for (const [name, one] of declared) if (one.source === 'docker' && !names.has(name)) declared.delete(name);
  for (const service of all) note(play, 'docker', service);
}

async function remove(play: Play): Promise<void> {
  const { client, declared, pick } = play;
  const entry = pick('service', [...declared]);
  if (entry === undefined) return;
  const [name, { source }] = entry;
  await client.call(`removal of ${name}`, ({ services }) => services.remove(source, [name]));
  declared.delete(name);
}

async function drain(play: Play): Promise<void> {
  const { client, declared, pick, choose } = play;
  const entry = pick('service', [...declared]);
  const backend = entry && pick('backend', entry[1].service.backends);
  if (entry === undefined || backend === undefined) return;
  const [name, one] = entry;
  const is = choose('it ends', 3) !== 1;
  const question = JSON.stringify({ do: 'drain', name, addresses: [backend.address], is });
  await client.call(`${is ? 'drain' : 'end of the drain'} of ${backend.address} of ${name}`, ({ services }) =>
    services.ask(question),
  );
  const drained = new Set(one.drained);
  if (is) drained.add(backend.address);
  else drained.delete(backend.address);
  declared.set(name, { ...one, drained });
}

async function list({ client, declared }: Play): Promise<void> {
  const answer = await client.call('the list of services', ({ services }) =>
    services.ask(JSON.stringify({ do: 'list' })),
  );
  const listed = (parseJson(answer) as { services: { name: string; source?: string }[] }).services;
  // These have no source: they were removed, and their connections end.
  const names = listed.flatMap(({ name, source }) => (source === undefined ? [] : [name])).toSorted();
  const wanted = [...declared.keys()].toSorted();
  hold(
    'lasting answers',
    names.join() === wanted.join(),
    `listed: ${names.join(', ')}; declared: ${wanted.join(', ')}`,
  );
}

/** Takes rules, as `nft flush ruleset` or another program does. */
function meddle(play: Play): Promise<void> {
  const { world, choose, pick } = play;
  const { kernel } = world;
  const found = pick('table', [...kernel.tables.keys()]);
  if (found === undefined) return Promise.resolve();
  const table = { family: found.startsWith('2 ') ? 'ip' : 'ip6', name: 'portcullis_services' } as const;
  const requests: Request[] = [];
  // A server's slots are recognized by its digest: the product does not look for a single missing slot.
  const set = ['', 'servers', 'nodes', 'addresses', 'modes'][choose('what', 5)] ?? '';
  if (set === '') requests.push(deleteTable(table));
  const element =
    set === '' ? undefined : pick('element', [...(kernel.tables.get(found)?.sets.get(set)?.values() ?? [])]);
  if (element !== undefined) requests.push(...deleteElements(table, set, [{ key: element.key }]));
  if (requests.length === 0) return Promise.resolve();
  world.report(
    `  another program takes ${set === '' ? 'the table' : `an element of ${set}`} of ${table.family}`,
  );
  kernel.commit(requests);
  play.meddling = 'now';
  return Promise.resolve();
}

function loseThread({ world }: Play): Promise<void> {
  world.report('  the thread of services is lost');
  loseThreads();
  return Promise.resolve();
}

async function killDaemon({ world, client }: Play): Promise<void> {
  world.report('  kill -9');
  await client.restart(() => undefined);
}

async function restartMachine({ world, client }: Play): Promise<void> {
  world.report('† the machine starts again');
  await client.restart(() => {
    world.kernel = createNfTables();
    world.bootId = `${world.bootId}'`;
    world.database.losePower(world.scheduler.decisions);
  });
}

const pause = ({ client, choose }: Play): Promise<void> =>
  client.wait([100, 6_000, 70_000][choose('pause', 3)] ?? 100);

export const ordinary: readonly Step<Play>[] = [
  ['', () => Promise.resolve()],
  ['declare a service', declare],
  ['declare a service', declare],
  ['declare a service', declare],
  ['declare a service with an address of another', declareTaken],
  ['declare services beside each other', declareBeside],
  ['replace what docker has', replaceAll],
  ['change backends', changeBackends],
  ['change backends', changeBackends],
  ['drain a backend', drain],
  ['drain a backend', drain],
  ['remove a service', remove],
  ['list services', list],
  ['wait', pause],
];
export const rare: readonly Step<Play>[] = [
  ...ordinary,
  ['another program meddles', meddle],
  ['lose the thread', loseThread],
  ['kill the daemon', killDaemon],
  ['restart the machine', restartMachine],
  ['trouble', troubleAmong(troubles)],
  ['jump of the clock', jumpByHours],
];
