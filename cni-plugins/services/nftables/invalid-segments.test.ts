import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { testInvalidSegments } from '../invalid-segments.fixture.ts';
import { openNftablesBalancer } from './balancer.ts';

if (inPrivateNetns(import.meta.filename)) testInvalidSegments(openNftablesBalancer);
