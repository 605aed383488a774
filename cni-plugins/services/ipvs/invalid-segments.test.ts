import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { testInvalidSegments } from '../invalid-segments.fixture.ts';
import { openIpvsBalancer } from './balancer.ts';
import { canBalanceByIpvs } from './settings.ts';

if (inPrivateNetns(import.meta.filename, 180_000)) {
  const absent = canBalanceByIpvs();
  testInvalidSegments(openIpvsBalancer, absent === undefined ? {} : { skip: absent });
}
