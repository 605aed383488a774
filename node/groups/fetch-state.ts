import { failure, orThrow } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { EtcdClient } from '../../cni-plugins/index.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { NodeState } from '../model/types.ts';
import type { DesiredState } from '../store/node-files.ts';
import { revisionKey } from './records.ts';
import type { GroupSpec } from './records.ts';

/**
 * Reads the state of a group. Whoever can write to etcd decides about the state, but a damaged one is
 * refused.
 * @param refuses returns why a value is not a state; undefined: it is one
 * @throws NODE_GROUP_INVALID · OVERLAY_ETCD_…
 */
export async function fetchGroupState(
  client: EtcdClient,
  group: string,
  { revision, generation }: GroupSpec,
  refuses: (state: unknown) => string | undefined,
): Promise<DesiredState> {
  const refused = (why: string) =>
    failure(
      'NODE_GROUP_INVALID',
      'invalid',
      'read the state of the group',
      group,
      why,
      'apply the group again',
    );
  const pair = await client.get(revisionKey(group, revision));
  if (pair === undefined) throw refused('etcd has no state of this revision');
  const state: unknown = orThrow(
    () => parseJson(pair.value.toString()),
    () => refused('it is not JSON'),
  );
  if (fingerprintOf(state) !== revision) throw refused('its fingerprint does not match');
  const problem = refuses(state);
  if (problem !== undefined) throw refused(problem);
  const source = { kind: 'group', group, generation } as const;
  return { revision, source, appliedAt: new Date().toISOString(), state: state as NodeState };
}
