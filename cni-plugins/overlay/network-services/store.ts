import { parseJson } from '../../../base/json/index.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import { noServiceRules } from '../../spec/service-rules.ts';
import type { ServiceRules } from '../../spec/service-rules.ts';
import type { SpannedMember, SpannedService } from '../../services/index.ts';
import type { MergedService } from './merged.ts';

/**
 * Stores services over hosts in the network's database: this host's knowledge of other hosts' members, for
 * the load balancer and DNS, also without etcd. Synchronous, for a Worker.
 */
export interface SpannedStore {
  /** Services of the last run. */
  readonly known: ReadonlyMap<string, MergedService>;
  /** Stores the current services, all at once; undefined removes one. */
  put(services: ReadonlyMap<string, MergedService | undefined>): void;
  /** Called when this host is no longer part of the network. */
  forget(): void;
}

/**
 * @param link the link with the gateway of the network's pods @param rules what this host lets services use.
 * Data of any other network over hosts is removed.
 */
export function openSpannedStore(
  { db, transaction }: NetworkDatabase,
  namespaceId: string,
  network: string,
  link: string,
  rules: ServiceRules = noServiceRules,
): SpannedStore {
  const begin = db.prepare(
    `INSERT INTO spanned_network (network, realm, link) VALUES (?, ?, ?)
     ON CONFLICT (network) DO UPDATE SET realm = excluded.realm, link = excluded.link`,
  );
  const putRules = db.prepare('INSERT OR REPLACE INTO spanned_rules (network, document) VALUES (?, ?)');
  const forgetOthers = db.prepare('DELETE FROM spanned_network WHERE network <> ?');
  const forget = db.prepare('DELETE FROM spanned_network WHERE network = ?');
  const selectServices = db.prepare('SELECT service, document FROM spanned_service WHERE network = ?');
  const selectMembers = db.prepare(
    'SELECT service, host, document FROM spanned_member WHERE network = ? ORDER BY service, host',
  );
  const putService = db.prepare(
    'INSERT OR REPLACE INTO spanned_service (network, service, document) VALUES (?, ?, ?)',
  );
  const putMembers = db.prepare(
    'INSERT OR REPLACE INTO spanned_member (network, service, host, document) VALUES (?, ?, ?, ?)',
  );
  const removeService = db.prepare('DELETE FROM spanned_service WHERE network = ? AND service = ?');
  const removeMembers = db.prepare(
    'DELETE FROM spanned_member WHERE network = ? AND service = ? AND host = ?',
  );

  // These rows survive power cuts, which can damage them. The other hosts have published all of them.
  const isDamaged = (form: 'array' | 'object'): string =>
    `NOT iif(json_valid(document), json_type(document) = '${form}', FALSE)`;
  const forgetDamaged = [
    `DELETE FROM spanned_service WHERE ${isDamaged('object')}`,
    `DELETE FROM spanned_member WHERE ${isDamaged('array')}
       OR (network, service) NOT IN (SELECT network, service FROM spanned_service)`,
  ].map((sql) => db.prepare(sql));

  transaction(() => {
    forgetOthers.run(network);
    for (const statement of forgetDamaged) statement.run();
    begin.run(network, namespaceId, link);
    putRules.run(network, JSON.stringify(rules));
  });
  const members = Map.groupBy(
    selectMembers.all(network) as unknown as { service: string; host: string; document: string }[],
    ({ service }) => service,
  );
  const known = new Map(
    (selectServices.all(network) as unknown as { service: string; document: string }[]).map(
      ({ service, document }) => [
        service,
        {
          ...withoutNobody(parseJson(document) as SpannedService),
          members: new Map(
            (members.get(service) ?? []).map(({ host, document: text }) => [
              host,
              parseJson(text) as SpannedMember[],
            ]),
          ),
        },
      ],
    ),
  );
  const written = new Map<string, MergedService>(known);

  const change = (name: string, service: MergedService | undefined): void => {
    const before = written.get(name);
    for (const host of before?.members.keys() ?? [])
      if (service?.members.has(host) !== true) removeMembers.run(network, name, host);
    if (service === undefined) {
      removeService.run(network, name);
      return;
    }
    const { members: given, mode, owner, addresses, ingressPorts } = service;
    if (before === undefined || headOf(before) !== headOf(service))
      putService.run(
        network,
        name,
        JSON.stringify({ mode, owner: owner ?? nobody, addresses, ingressPorts } satisfies SpannedService),
      );
    for (const [host, each] of given)
      if (before?.members.get(host) !== each)
        putMembers.run(network, name, host, JSON.stringify(each satisfies readonly SpannedMember[]));
  };

  return {
    known,
    put(services) {
      const changed = [...services].filter(([name, service]) => !isSame(written.get(name), service));
      if (changed.length === 0) return;
      transaction(() => changed.forEach(([name, service]) => change(name, service)));
      for (const [name, service] of changed) {
        if (service === undefined) written.delete(name);
        else written.set(name, service);
      }
    },
    forget: () => void transaction(() => forget.run(network)),
  };
}

/** Owner of a service that a host of an earlier version wrote. */
const nobody = '';

function withoutNobody({ owner, ...service }: SpannedService): SpannedService {
  return owner === undefined || owner === nobody ? service : { ...service, owner };
}

const headOf = ({ mode, owner, addresses, ingressPorts }: MergedService): string =>
  JSON.stringify([mode, owner, addresses, ingressPorts]);

/** The member list of a host is the same object as long as it did not change. */
function isSame(before: MergedService | undefined, now: MergedService | undefined): boolean {
  if (before === undefined || now === undefined) return before === now;
  return (
    headOf(before) === headOf(now) &&
    before.members.size === now.members.size &&
    [...now.members].every(([host, members]) => before.members.get(host) === members)
  );
}
