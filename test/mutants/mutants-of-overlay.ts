import { checks } from './mutant.ts';

/** Networks that span hosts: the owner of a key in etcd, and the choice of the etcd member. */
export const mutants = checks([
  [
    'cni-plugins/overlay/ownership/contests.ts',
    'isOlder(claimant, contest.winner)) contest.winner',
    '!isOlder(claimant, contest.winner)) contest.winner',
    'cni-plugins/overlay/ownership/ownership.test.ts',
  ],
  [
    'cni-plugins/overlay/ownership/identities.ts',
    'if (claims.get(value)?.has(host) !== true) return',
    'if ((false as boolean)) return',
    'cni-plugins/overlay/ownership/ownership.test.ts',
  ],
  [
    'cni-plugins/overlay/ownership/identities.ts',
    'if (winner !== undefined && winner.host !== host) return',
    'if ((false as boolean)) return',
    'cni-plugins/overlay/ownership/ownership.test.ts',
  ],
  [
    'cni-plugins/overlay/ownership/subnet-claims.ts',
    'if (families.has(familyOf(subnet))) {',
    'if ((false as boolean)) {',
    'cni-plugins/overlay/ownership/ownership.test.ts',
  ],
  [
    'cni-plugins/overlay/ownership/own-claims.ts',
    'if (said !== undefined && said !== host) return',
    'if ((false as boolean)) return',
    'cni-plugins/overlay/ownership/ownership.test.ts',
  ],
  [
    'cni-plugins/overlay/ownership/host-quotas.ts',
    'host.bytes - (former ?? 0) + size > most.bytes || ',
    '',
    'cni-plugins/overlay/ownership/ownership.test.ts',
  ],
  [
    'cni-plugins/overlay/ownership/host-quotas.ts',
    '(host.keys.size >= most.keys || count >= limit)',
    'host.keys.size >= most.keys',
    'cni-plugins/overlay/ownership/ownership.test.ts',
  ],
  [
    'cni-plugins/overlay/network-services/claim-filter.ts',
    '|| holderOf(address) !== host',
    '',
    'cni-plugins/overlay/network-services/store.test.ts',
  ],
  [
    'cni-plugins/overlay/network-services/claim-filter.ts',
    'holders.addressHolder(address) === name && ',
    '',
    'cni-plugins/overlay/network-services/store.test.ts',
  ],
  [
    'cni-plugins/overlay/network-services/claim-filter.ts',
    ' && holderOf(address) === addressHolder',
    '',
    'cni-plugins/overlay/network-services/store.test.ts',
  ],
  [
    'cni-plugins/overlay/etcd/members.ts',
    'if (health.until > now()) return;',
    '',
    'cni-plugins/overlay/etcd/members.test.ts',
  ],
  [
    'cni-plugins/overlay/etcd/members.ts',
    '2 ** health.failures',
    '1',
    'cni-plugins/overlay/etcd/members.test.ts',
  ],
  [
    'cni-plugins/overlay/etcd/follow.ts',
    'if (unanswered > mostUnanswered) stream.abandon',
    'if ((false as boolean)) stream.abandon',
    'cni-plugins/overlay/etcd/failover.test.ts',
  ],
  [
    'cni-plugins/overlay/etcd/lease.ts',
    '() => stream.abandon(',
    '() => void (',
    'cni-plugins/overlay/etcd/failover.test.ts',
  ],
  [
    'cni-plugins/overlay/etcd/credentials.ts',
    'if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) throw',
    'if ((false as boolean)) throw',
    'cni-plugins/overlay/etcd/credentials.test.ts',
  ],
  [
    'cni-plugins/overlay/spread-services.ts',
    'else askAgain();',
    '',
    'cni-plugins/overlay/spread-services.test.ts',
  ],
]);
