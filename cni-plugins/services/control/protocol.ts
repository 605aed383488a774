import type { LogLevel } from '../../../base/log/index.ts';
import type { GatedFolder } from '../../followed-files/folder-gate.ts';
import type { KubernetesFigures, KubernetesPlace } from '../kubernetes/watch.ts';
import type { Balancer, Service, ServiceControl } from '../model.ts';
import type { ReportPage, ReportedService } from './report.ts';

/** What passes between the daemon and the thread of services. */

export type BalancerChoice = 'auto' | Balancer['kind'];

export interface ServicesSettings {
  readonly databasePath: string;
  readonly balancer: BalancerChoice;
  /** Of descriptions; followed, may be missing. */
  readonly folder?: string;
  /** Of the folder, where it may lie on a file server. */
  readonly gates?: readonly GatedFolder[];
  /** A cluster whose services are followed. */
  readonly kubernetes?: KubernetesPlace;
  /** Sources that are asked no more: what they described ends. */
  readonly ended?: readonly string[];
}

/** What a command may ask; the answer of each is JSON. */
export type ServiceQuestion =
  | ({ readonly do: 'list' } & ReportPage)
  | { readonly do: 'apply'; readonly services: readonly Service[] }
  | { readonly do: 'remove'; readonly names: readonly string[] }
  | { readonly do: 'drain'; readonly name: string; readonly addresses: readonly string[]; readonly is: boolean }
  | { readonly do: 'switch'; readonly balancer: BalancerChoice };

export interface ServiceList {
  readonly balancer: Balancer['kind'];
  /** The one before it, which still has connections. */
  readonly retiring?: { readonly kind: Balancer['kind']; readonly connections: number };
  readonly services: readonly ReportedService[];
  /** There are more: those after this name. */
  readonly next?: string;
  /** What the files say that can not be, with its place. */
  readonly problems: readonly string[];
}

export interface ServiceFigures {
  readonly balancer: Balancer['kind'];
  /** By source. */
  readonly services: Readonly<Record<string, number>>;
  /** Of these, what the balancer cannot do, or what has not all of its addresses, because other services have them. */
  readonly refused: number;
  readonly virtualServers: number;
  /** Virtual servers that differed from what was made, since the start. */
  readonly repairs: number;
  /** Packets that restricted services did not take. */
  readonly denied: readonly { readonly service: string; readonly packets: number }[];
  /** Absent: no cluster is followed. */
  readonly kubernetes?: KubernetesFigures;
  /** At most so many that a scrape stays small; the first by name. */
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

/** What the thread does for the daemon. */
export type ServiceCalls = {
  readonly put: ServiceControl['put'];
  readonly replace: ServiceControl['replace'];
  readonly remove: ServiceControl['remove'];
  readonly figures: () => ServiceFigures;
  /** {@link ServiceQuestion} as JSON, and the answer as JSON: it is read in the thread. */
  readonly ask: (question: string) => string;
};

/** What the daemon does for the thread. */
export type ServiceOwner = {
  readonly log: (level: Exclude<LogLevel, 'silent'>, fields: object, message: string) => void;
  /** The balancer was changed: the next thread, where this one is lost, goes on with it. */
  readonly switched: (balancer: BalancerChoice) => void;
};
