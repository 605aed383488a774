import { canBalanceByIpvs } from '../../cni-plugins/services/ipvs/settings.ts';
import { openIpvsBalancer } from '../../cni-plugins/services/ipvs/balancer.ts';
import type { Balancer } from '../../cni-plugins/services/model/model.ts';
import { canBalanceByNftables, openNftablesBalancer } from '../../cni-plugins/services/nftables/balancer.ts';

export const balancers: Readonly<
  Record<string, { readonly open: () => Balancer; readonly missing: () => string | undefined }>
> = {
  nftables: { open: () => openNftablesBalancer(), missing: canBalanceByNftables },
  ipvs: { open: () => openIpvsBalancer(), missing: canBalanceByIpvs },
};
