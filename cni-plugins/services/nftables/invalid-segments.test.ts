import { inPrivateNetns } from '../../attach/engine.fixture.ts';
import { testInvalidSegments } from '../invalid-segments.fixture.ts';
import { openNftablesBalancer } from './balancer.ts';

if (inPrivateNetns(import.meta.filename)) testInvalidSegments(openNftablesBalancer);
