import { PortcullisError } from '../../../base/errors/index.ts';
import { canBalanceByIpvs } from '../ipvs/settings.ts';
import type { Balancer } from '../model/model.ts';
import { canBalanceByNftables } from '../nftables/balancer.ts';
import type { BalancerChoice } from './protocol.ts';

const obstacles: Readonly<Record<Balancer['kind'], () => string | undefined>> = {
  nftables: canBalanceByNftables,
  ipvs: canBalanceByIpvs,
};

/**
 * Returns the requested balancer if this kernel supports it. `auto` prefers nf_tables over IPVS.
 * @throws NETWORK_BALANCER_MISSING with what is missing for each
 */
export function chooseBalancer(choice: BalancerChoice): Balancer['kind'] {
  const missing: string[] = [];
  for (const kind of choice === 'auto' ? (['nftables', 'ipvs'] as const) : [choice]) {
    const why = obstacles[kind]();
    if (why === undefined) return kind;
    missing.push(`${kind}: ${why}`);
  }
  throw new PortcullisError({
    code: 'NETWORK_BALANCER_MISSING',
    kind: 'precondition',
    attempted: 'balance services with',
    on: choice,
    why: missing.join('; '),
    fix: 'select a balancer that this kernel supports (network.services.backend, `portcullis service apply --backend`), or load its modules',
  });
}
