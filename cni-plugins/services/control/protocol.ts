import type { LogLevel } from '../../../base/log/index.ts';
import type { CheckedFolder } from '../../followed-files/checked-folder.ts';
import type { KubernetesFigures, KubernetesPlace } from '../kubernetes/watch.ts';
import type { Balancer, Service, ServiceControl } from '../model/model.ts';
import type { ReportPage, ReportedService } from './report.ts';

/** The messages between the daemon and the thread of services. */

export type BalancerChoice = 'auto' | Balancer['kind'];

export interface ServicesSettings {
  readonly databasePath: string;
  readonly balancer: BalancerChoice;
  /** Folder of descriptions. It is followed, and may be missing. */
  readonly folder?: string;
  /** The state of the folder, which may be on a file server. */
  readonly checkedFolders?: readonly CheckedFolder[];
  /** The cluster whose services are followed. */
  readonly kubernetes?: KubernetesPlace;
  /** Sources that are no longer used: their services are removed. */
  readonly ended?: readonly string[];
}

/** A request of a command. Each answer is JSON. */
export type ServiceQuestion =
  | ({ readonly do: 'list' } & ReportPage)
  | { readonly do: 'apply'; readonly services: readonly Service[] }
  | { readonly do: 'remove'; readonly names: readonly string[] }
  | {
      readonly do: 'drain';
      readonly name: string;
      readonly addresses: readonly string[];
      readonly is: boolean;
    }
  | { readonly do: 'switch'; readonly balancer: BalancerChoice };

export interface ServiceList {
  readonly balancer: Balancer['kind'];
  /** The previous balancer, while it still has connections. */
  readonly retiring?: { readonly kind: Balancer['kind']; readonly connections: number };
  readonly services: readonly ReportedService[];
  /** There are more services after this name. */
  readonly next?: string;
  /** Problems of the files, with their positions. */
  readonly problems: readonly string[];
}

export interface ServiceFigures {
  readonly balancer: Balancer['kind'];
  /** Number of services by source. */
  readonly services: Readonly<Record<string, number>>;
  /** How many of these the balancer cannot serve, or lack an address that other services hold. */
  readonly refused: number;
  readonly virtualServers: number;
  /** Virtual servers that were found changed and repaired, since the start. */
  readonly repairs: number;
  /** Packets that restricted services dropped. */
  readonly denied: readonly { readonly service: string; readonly packets: number }[];
  /** Absent: no cluster is followed. */
  readonly kubernetes?: KubernetesFigures;
  /** The first backends by name, limited so that a scrape stays small. */
  readonly backends: readonly {
    readonly service: string;
    readonly portName: string;
    readonly backend: string;
    readonly weight: number;
    readonly isWell: boolean;
    readonly active: number;
    readonly connections?: number;
  }[];
}

/** Calls of the daemon to the thread. */
export type ServiceCalls = {
  readonly put: ServiceControl['put'];
  readonly replace: ServiceControl['replace'];
  readonly remove: ServiceControl['remove'];
  readonly figures: () => ServiceFigures;
  /** Takes a {@link ServiceQuestion} as JSON and returns JSON. The thread parses it. */
  readonly ask: (question: string) => string;
};

/** Calls of the thread to the daemon. */
export type ServiceOwner = {
  readonly log: (level: Exclude<LogLevel, 'silent'>, fields: object, message: string) => void;
  /** The balancer was switched. If this thread is lost, the next one uses this balancer. */
  readonly switched: (balancer: BalancerChoice) => void;
};
