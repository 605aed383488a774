import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { testPodRules } from '../pod-rules.fixture.ts';
import { openNftablesBalancer } from './balancer.ts';

if (inPrivateNetns(import.meta.filename, 180_000)) testPodRules(openNftablesBalancer);
