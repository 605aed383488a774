import type { LinkClass } from '../../cni-plugins/index.ts';
import type { NetworkClass } from '../../entitlements/index.ts';
import type { ContainerRecord } from './record.ts';

const order: readonly LinkClass[] = ['deny', 'none', 'user', 'proxy', 'admin'];

/** The link is the pod's: it is raised to the join of the classes of its containers that were started. `host` needs no link. Pure. */
export function linkClassFor(containers: readonly Pick<ContainerRecord, 'networkClass' | 'phase'>[]): LinkClass {
  const started = containers.filter((one) => one.phase === 'starting' || one.phase === 'running');
  return started
    .map((one) => linkClass(one.networkClass))
    .reduce((widest, next) => (order.indexOf(next) > order.indexOf(widest) ? next : widest), 'deny' as LinkClass);
}

function linkClass(networkClass: NetworkClass): LinkClass {
  return networkClass === 'host' ? 'admin' : networkClass;
}
