import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { isRefusal } from '../../../base/netlink/index.ts';
import type { Table, Request } from '../../../base/netlink/index.ts';
import type { ConstantRules } from '../../constant-rules/constant-rules.ts';
import { createEnforcer, openPodOf, policyPodOf, policyTables } from '../../policy/index.ts';
import type { Enforcer, OpenPod, PolicyChange, PolicyFollower, RuleRequests } from '../../policy/index.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { hasUnheldLink } from '../../database/record.ts';
import type { AttachmentRecord } from '../../database/record.ts';
import { removePod } from '../../links/rules/ruleset.ts';
import type { PodSubnets } from '../../links/rules/ruleset.ts';
import { constantRules, ip6Table } from '../../links/rules/rules.ts';
import type { NetworkStore } from '../../database/store.ts';
import { copyNames } from '../../table-copies/table-copies.ts';
import { createLinkTables, createReplacements } from './link-tables.ts';

/** The content of the kernel's tables for the attachments, and the changes from one state to the next. */
export interface RulesInForce {
  readonly policy: Pick<Enforcer, 'counts' | 'isolates' | 'keep' | 'rulesOf' | 'tables'>;
  /** Recreates all tables from the records. */
  rebuild(): void;
  /** Removes the tables, because nothing is attached. */
  remove(): void;
  /**
   * Ensures that the tables exist which deny all traffic of links that are about to be created for the
   * record.
   */
  expect(record: AttachmentRecord): void;
  /**
   * Changes elements. If the tables are not in the expected state, another program changed them, and they are
   * recreated.
   */
  change(record: AttachmentRecord, requests: readonly Request[], ofPolicy?: RuleRequests): void;
  /**
   * Removes the record's elements and peer rules, which denies all traffic of its link. Returns false if
   * there are no tables that could deny it.
   */
  forget(record: AttachmentRecord): boolean;
  /**
   * Returns the requests that set the peer rules of the record.
   * @throws NETWORK_BAD_RULE; nothing is changed then
   */
  ofPeers(record: AttachmentRecord): RuleRequests;
  /**
   * Checks whether the NetworkPolicies changed, and updates the kernel. Returns whether the kernel has all
   * changes now: a change of many rules takes several calls.
   */
  followPolicies(): boolean;
  /** Recreates tables that another program removed, or removed rules from. */
  lookAfter(): void;
  /** Returns how often the tables were not in the expected state. */
  repairs(): number;
}

export interface RulesDeps {
  readonly store: Pick<NetworkStore, 'records'>;
  readonly kernel: Pick<HostKernel, 'hasTable' | 'lacksRules' | 'link' | 'rules'>;
  readonly policies: PolicyFollower;
  readonly log: Pick<Logger, 'warn'>;
}

/** One turn is at most half a second, so unused groups of peers are removed after one or two minutes. */
const turnsToTidy = 120;

const none: RuleRequests = { preparation: [], requests: [], cleanup: [] };

export function createRulesInForce({ store, kernel, policies, log }: RulesDeps): RulesInForce {
  const policy = createEnforcer(policies.peers);
  const replacements = createReplacements({ kernel, log });
  const linkTables = createLinkTables({ kernel, replacements });
  /** Changes that the kernel has not accepted yet. */
  let unsent: PolicyChange = {};
  let turns = 0;
  const reportLimits = createLimitReport(policy, log);
  let repairs = 0;

  const openPod = (record: AttachmentRecord): OpenPod | undefined =>
    openPodOf(record, ({ name, mac }) => kernel.link(name)?.mac ?? mac);

  const liveRecords = (): AttachmentRecord[] => store.records().filter(({ state }) => state !== 'detaching');

  const rebuildRules = (stood: readonly PodSubnets[] = []): void => {
    const live = liveRecords();
    const isMissing = !policyTables.some(
      (table) => kernel.hasTable(table) || kernel.hasTable(copyNames(table)),
    );
    const ofPeers = policy.restart(
      live.flatMap((record) => openPod(record) ?? []),
      isMissing,
    );
    linkTables.rebuild(live, stood, ofPeers);
    policy.settled();
  };

  /** Peer rules do not depend on the networks, and there may be so many that calls would wait for long. */
  const rebuildLinks = (): void => {
    if (linkTables.exist()) linkTables.rebuild(liveRecords());
    else rebuildRules();
  };

  /**
   * Recreates tables that another program changed, as they were: subnets stay in them after their last pod,
   * because the next pod would have the tables recreated once more.
   */
  const repair = (): void => {
    repairs += 1;
    rebuildRules(linkTables.subnets());
  };

  const send = (ofPolicy: RuleRequests = none, others: readonly Request[] = []): void =>
    replacements.apply({
      get preparation() {
        return ofPolicy.preparation;
      },
      get requests() {
        return [...others, ...ofPolicy.requests];
      },
      cleanup: ofPolicy.cleanup,
    });

  const change: RulesInForce['change'] = (record, requests, ofPolicy) => {
    if (!linkTables.contain(record)) return ofPolicy === undefined ? rebuildLinks() : rebuildRules();
    try {
      send(ofPolicy, requests);
      if (ofPolicy !== undefined) policy.settled();
    } catch (thrown) {
      if (!isRefusal(thrown, 'ENOENT', 'EEXIST')) throw thrown;
      log.warn(
        { id: record.id, why: reasonOf(thrown) },
        'the network rules were changed by another program; they are recreated',
      );
      repair();
    }
  };

  return {
    policy,
    rebuild: () => rebuildRules(),
    remove() {
      const { requests, cleanup } = policy.restart([]);
      linkTables.remove((ofLinks) => kernel.rules([...ofLinks, ...requests, ...cleanup]));
    },
    expect(record) {
      if (!linkTables.contain(record)) rebuildLinks();
    },
    change,
    forget(record) {
      if (!linkTables.exist()) return false;
      change(record, removePod(record, store.records()), policy.close(record.id));
      return true;
    },
    ofPeers(record) {
      const pod = openPod(record);
      return pod === undefined ? policy.close(record.id) : policy.open(pod);
    },
    followPolicies() {
      const { set, pods } = policies.changed();
      unsent = { ...unsent, ...(set !== undefined && { set }), ...(pods !== undefined && { pods }) };
      const requests = policy.follow(unsent);
      if (linkTables.exist()) send(requests);
      policy.settled();
      if (unsent.set !== undefined || unsent.pods !== undefined) reportUnheld(store, policy, log);
      unsent = {};
      reportLimits();
      turns += 1;
      if (turns % turnsToTidy === 0) policy.tidy();
      return !policy.isBehind();
    },
    lookAfter() {
      replacements.retry();
      if (!linkTables.exist()) return;
      const isWhole = (table: Table, rules: ConstantRules): boolean =>
        kernel.hasTable(table) ? !kernel.lacksRules(table, rules) : table === ip6Table;
      if (
        linkTables.tables().every((table) => isWhole(table, constantRules[table.family])) &&
        policy.tables().every(([table, rules]) => isWhole(table, rules))
      )
        return;
      log.warn({}, 'some or all network rules were removed by another program; they are recreated');
      repair();
    },
    repairs: () => repairs,
  };
}

/** Returns a function that logs the limits that are lower because pods share them, whenever they change. */
function createLimitReport(policy: Pick<Enforcer, 'sharedLimits'>, log: RulesDeps['log']): () => void {
  const words = {
    rules:
      'NetworkPolicies of all namespaces need too many rules on this node: pods of these namespaces with more rules and ports than their limit are isolated',
    blocks:
      'NetworkPolicies of a namespace, or of all, name too many blocks of addresses on this node: pods of these namespaces with more blocks than their limit are isolated',
  };
  const reported = { rules: '{}', blocks: '{}' };
  return () => {
    const shared = policy.sharedLimits();
    for (const part of ['rules', 'blocks'] as const) {
      const limits = shared[part];
      const now = JSON.stringify(limits);
      if (now === reported[part]) continue;
      reported[part] = now;
      if (now !== '{}') log.warn({ limits }, words[part]);
    }
  };
}

/** When a pod starts, such policies are refused. Policies that arrive later can only be reported. */
function reportUnheld(
  store: RulesDeps['store'],
  policy: Pick<Enforcer, 'isolates'>,
  log: RulesDeps['log'],
): void {
  for (const { id, state, class: linkClass, rules, spec } of store.records()) {
    if (state !== 'ready' || linkClass === 'deny' || linkClass === 'none' || !hasUnheldLink(spec)) continue;
    if (!policy.isolates(policyPodOf(spec, rules))) continue;
    log.warn(
      { id, network: spec.network },
      'NetworkPolicies select this pod and are not enforced: our rules cannot be applied to its links',
    );
  }
}
