import { hostInterfaceOf } from '../../../cni-plugins/database/record.ts';
import type { AttachRequest, LinkClass, LinkRules } from '../../../cni-plugins/types.ts';
import type { Client } from '../engine/client.ts';
import type { Choices } from '../engine/play-steps.ts';
import type { AttachmentsNode, AttachmentsWorld } from './attachments-node.ts';

/** A pod whose attachment was requested and whose detachment was not requested since. */
export interface AttachedPod {
  readonly id: string;
  readonly hostInterface: string;
  readonly request: AttachRequest;
  /** The addresses of the answer; undefined: nothing was answered yet. */
  ips: readonly string[] | undefined;
  /** The classes that its link may have according to the requests: one, unless a change is unanswered. */
  classes: Set<LinkClass>;
  /** The most recently requested rules of peers. */
  rules: LinkRules;
  /** Another program changed its link, and the link has not been seen in its correct state since. */
  isMeddledWith: boolean;
}

export interface Play extends Choices {
  readonly world: AttachmentsWorld;
  readonly client: Client<AttachmentsNode>;
  readonly pods: Map<string, AttachedPod>;
  /** Containers of another runtime, with the address that our address plugin gave each. */
  readonly holders: Map<string, string>;
  /** The number of pods and containers so far. */
  count: number;
  /** Another program took rules, and they have not been seen complete since. */
  rulesTaken: boolean;
}

export const openClasses: readonly LinkClass[] = ['user', 'proxy', 'admin'];
export const isOpen = (linkClass: LinkClass): boolean => openClasses.includes(linkClass);

/**
 * The addresses of the network in `networks/` that can be leased: of its eight addresses, the first, the last
 * and the gateway's cannot.
 */
export const leasable: readonly string[] = [2, 3, 4, 5, 6].map((last) => `10.9.0.${last}`);
export const bridgeName = 'cni0';
const hostPorts = [30_001, 30_002];

/** Creates a pod with its own namespace, to be attached. */
export function newPod(play: Play): AttachedPod {
  const { world, pods, choose } = play;
  play.count += 1;
  const id = `p${play.count}`;
  const path = `/run/netns/${id}`;
  world.host.pin(path);
  const hostPort = choose('a host port', 4) === 1 ? hostPorts[choose('which', hostPorts.length)] : undefined;
  const pod: AttachedPod = {
    id,
    hostInterface: hostInterfaceOf(id),
    request: {
      id,
      netns: path,
      pod: { name: id, namespace: 'default', uid: id },
      portMappings: hostPort === undefined ? [] : [{ protocol: 'udp', containerPort: 53, hostPort }],
    },
    ips: undefined,
    classes: new Set(['deny']),
    rules: {},
    isMeddledWith: false,
  };
  pods.set(id, pod);
  return pod;
}

export const hostPortsOf = ({ request }: AttachedPod): readonly number[] =>
  request.portMappings.map(({ hostPort }) => hostPort);

/** Removes the namespace of a pod, and the link with it. */
export function endPod({ world, choose }: Play, { request }: AttachedPod): void {
  world.host.unpin(request.netns, [1, 60, 4_000][choose('its links go', 3)] ?? 1);
}
