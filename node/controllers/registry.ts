import type { ReportSource } from '../../cni-plugins/index.ts';
import type { Controller } from '../model/types.ts';
import { imageController } from './images.ts';
import { kernelModuleController } from './kernel-modules.ts';
import { networkController } from './networks.ts';
import type { DaemonAccess } from './node-access.ts';
import { policyController } from './policies.ts';
import type { LoadPolicy } from './policies.ts';
import { serviceController } from './services.ts';
import { staticPodController } from './static-pods.ts';
import { sysctlController } from './sysctls.ts';

/** Where the parts of the node are. */
export interface NodePlaces {
  readonly daemon: DaemonAccess;
  readonly networks: ReportSource;
  /** The policy path of the daemon. */
  readonly policyFolder: string;
  readonly podLogs: string;
  readonly loadPolicy: LoadPolicy;
}

/** Returns all controllers. Each one follows those that it names in `after`. */
export function nodeControllers(places: NodePlaces): readonly Controller[] {
  return [
    kernelModuleController(),
    sysctlController(),
    policyController(places.daemon, places.policyFolder, places.loadPolicy),
    networkController(places.networks),
    imageController(places.daemon),
    serviceController(places.daemon),
    staticPodController(places.daemon, places.podLogs),
  ];
}
