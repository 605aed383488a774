import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { testPodRules } from '../pod-rules.fixture.ts';
import { openIpvsBalancer } from './balancer.ts';
import { canBalanceByIpvs } from './settings.ts';

if (inPrivateNetns(import.meta.filename, 420_000)) {
  const absent = canBalanceByIpvs();
  testPodRules(openIpvsBalancer, absent === undefined ? {} : { skip: absent });
}
