import { existsSync, statSync } from 'node:fs';
import { attempt } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { namespaceStands, ownNamespace } from '../namespaces/netns.ts';
import type { AttachmentSpec } from '../database/record.ts';
import type { ChainPod } from '../calls/chain.types.ts';
import { targetUnknown } from './connect-failures.ts';
import { connectedId } from '../spec/connected-id.ts';
import { namedTarget } from './docker-target.ts';
import { readRecords } from './network-records.ts';

/** Where targets are looked up. */
export interface TargetSource {
  readonly databasePath: string;
  /** Socket of docker's API, for targets that docker manages. Defaults to /run/docker.sock. */
  readonly dockerSocket?: string;
}

/** The target of a connection: a container as the plugins see it. */
interface Target {
  readonly pod: ChainPod;
  /** Why the target must not get an interface on which our rules are not in force. */
  readonly bound?: string;
}

export const podOf = (id: string, netns: string, name = '', namespace = '', uid = ''): ChainPod => ({
  id,
  netns,
  pod: { name, namespace, uid },
});

export const noContainer = 'docker has no running container of that name';

/**
 * Finds a running target.
 * @throws NETWORK_TARGET_UNKNOWN · NETWORK_DOCKER_UNREACHABLE
 */
export async function targetOf(source: TargetSource, asked: string): Promise<Target> {
  const known = await namedTarget(asked, source.dockerSocket);
  if (known === undefined) throw targetUnknown(asked, noContainer);
  const { target } = known;
  const path = pathOf(target);
  if (path !== undefined) {
    if (!namespaceStands(path)) throw targetUnknown(asked, 'there is no network namespace at this path');
    if (isOwnNamespace(path)) throw targetUnknown(asked, "its network namespace is this host's own");
    return { pod: podOf(idOf(source, target), path, known.name) };
  }
  const pod = podNamed(source, target);
  const bound =
    pod.class === 'none' || pod.class === 'deny'
      ? `its class is ${pod.class}`
      : pod.rules !== '{}'
        ? 'peer rules apply to it'
        : undefined;
  const { name, namespace, uid } = pod.spec.pod;
  return { pod: podOf(pod.id, pod.spec.netns, name, namespace, uid), ...(bound !== undefined && { bound }) };
}

const pathOf = (target: string): string | undefined => {
  const pid = /^pid:(?<pid>\d{1,10})$/u.exec(target)?.groups?.['pid'];
  return pid === undefined ? (target.startsWith('/') ? target : undefined) : `/proc/${pid}/ns/net`;
};

function isOwnNamespace(path: string): boolean {
  const [own, given] = [ownNamespace(), statSync(path)];
  return own.dev === given.dev && own.ino === given.ino;
}

/**
 * Returns the id by which connections of a target are recorded; empty if nothing is at its path any more.
 * @throws NETWORK_TARGET_UNKNOWN if no pod has that name
 */
export function idOf(source: TargetSource, target: string): string {
  const path = pathOf(target);
  if (path === undefined) return podNamed(source, target, 'any').id;
  if (!existsSync(path)) return '';
  return connectedId(statSync(path));
}

interface PodRow {
  readonly id: string;
  readonly class: string;
  readonly rules: string;
  readonly spec: AttachmentSpec;
}

function podNamed({ databasePath }: TargetSource, target: string, wanted: 'any' | 'ready' = 'ready'): PodRow {
  const rows = readRecords(databasePath, [], (records) =>
    // Without the pods whose records were damaged: their names are not known.
    [
      ...records.each(
        "SELECT container_id, state, class, rules, spec FROM attachment WHERE origin = 'pod' AND spec <> '{}'",
      ),
    ]
      .filter((row) => wanted !== 'ready' || row['state'] === 'ready')
      .flatMap((row): PodRow[] => {
        const spec = attempt(() => parseJson(String(row['spec']))) as AttachmentSpec | undefined;
        if (spec?.pod === undefined) return [];
        return [
          { id: String(row['container_id']), class: String(row['class']), rules: String(row['rules']), spec },
        ];
      }),
  );
  const named = rows.filter(
    ({ id, spec: { pod } }) =>
      target === `${pod.namespace}/${pod.name}` ||
      target === pod.name ||
      (target.length >= 6 && id.startsWith(target)),
  );
  const [found] = named;
  if (found === undefined) throw targetUnknown(target, 'no pod of that name or id is attached');
  if (named.length > 1) throw targetUnknown(target, `${named.length} pods have that name`);
  return found;
}
