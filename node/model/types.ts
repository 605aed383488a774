import type { JsonSchema } from '../../base/schema/index.ts';
import type { NewNetwork } from '../../cni-plugins/index.ts';

/** A section of a NodeState document. Each one has a controller. */
export type Section =
  | 'images'
  | 'kernelModules'
  | 'networks'
  | 'policies'
  | 'services'
  | 'staticPods'
  | 'sysctls';

/** A file of the policy folder: a policy, a profile, or a key that a policy refers to. */
export interface PolicyFile {
  readonly name: string;
  readonly content: string;
}

export interface WantedImage {
  readonly image: string;
  /** The namespace that the policy decides for. */
  readonly namespace: string;
}

export interface WantedNetwork extends Omit<NewNetwork, 'separated'> {
  /** As `separated` of a new network. */
  readonly isolation: boolean;
}

/** A service, with the fields of the document kind Service below its name. */
export interface WantedService {
  readonly name: string;
  readonly [field: string]: unknown;
}

export interface WantedContainer {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly mounts: readonly {
    readonly hostPath: string;
    readonly containerPath: string;
    readonly readOnly: boolean;
  }[];
  /** In bytes. */
  readonly memory?: number;
  /** In thousandths of a processor. */
  readonly cpuMillis?: number;
  readonly privileged: boolean;
}

export interface WantedPod {
  readonly name: string;
  readonly namespace: string;
  readonly hostNetwork: boolean;
  readonly runtimeHandler: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly containers: readonly WantedContainer[];
}

/**
 * The desired state of a node. Every section is complete: an item that it does not list is removed if we made
 * it.
 */
export interface NodeState {
  readonly images: readonly WantedImage[];
  readonly kernelModules: readonly string[];
  readonly networks: readonly WantedNetwork[];
  readonly policies: readonly PolicyFile[];
  readonly services: readonly WantedService[];
  readonly staticPods: readonly WantedPod[];
  readonly sysctls: Readonly<Record<string, string>>;
}

/** One item that should exist. */
export interface Item {
  /** Hash of everything that was asked for. */
  readonly fingerprint: string;
  /** The visible state when the item is as it should be, to compare with {@link Observed}. */
  readonly visible: string;
  /** For a reader of the plan. */
  readonly shown: string;
}

/** One item that exists. */
export interface Observed {
  readonly visible: string;
  readonly shown: string;
  /** The item itself says that we made it, such as by a label: no record is needed. */
  readonly ours?: true;
  /**
   * Why the name belongs to somebody else, whatever the records say. `visible` is then that of our item
   * beside it; empty: there is none.
   */
  readonly foreign?: string;
}

/** The record of an item, written before the node is changed. */
export interface Owned {
  /** False between the decision to create the item and its creation. */
  readonly made: boolean;
  readonly fingerprint: string;
  readonly visible: string;
  /** The original value, for a controller that restores it. */
  readonly before?: string;
}

export interface Change {
  readonly action: 'create' | 'delete' | 'update';
  readonly section: Section;
  readonly name: string;
  /** The present item, for a reader. Absent for `create`. */
  readonly from?: string;
  /** The item after the change, for a reader. Absent for a `delete` that restores nothing. */
  readonly to?: string;
  /** With `delete`: the value to restore. */
  readonly before?: string;
  /** The item was as desired before, and somebody else changed it. */
  readonly drift: boolean;
}

/** Limits of one observation or change. */
export interface Limits {
  readonly signal: AbortSignal;
}

/**
 * Keeps one section of the state. It is the only interface that a new kind of state needs. A controller
 * holds no state of its own: what it owns is recorded by its caller, before each change.
 */
export interface Controller {
  readonly section: Section;
  /** Sections that are tried first when another state is applied. */
  readonly after: readonly Section[];
  /** The schema of the section in a document. */
  readonly schema: JsonSchema;
  /**
   * The treatment of an existing item that this controller did not make. `exclusive`: it is a conflict, and
   * the item does not change. `shared`: the item is used, and never removed. `restores`: it is changed, and
   * the original value is recorded and restored.
   */
  readonly foreign: 'exclusive' | 'restores' | 'shared';
  /** An item that has to be recreated repeatedly is recreated at growing intervals. */
  readonly backsOff: boolean;
  /**
   * The most items that change at once, where a change may take minutes and needs no other item: an item that
   * waits for a registry must not delay the others. Absent: they change one after the other.
   */
  readonly atOnce?: number;
  /** Returns the items of a state by their names. */
  items(state: NodeState): ReadonlyMap<string, Item>;
  /**
   * Refuses a state that cannot be applied, as far as this can be known without the node.
   * @throws PortcullisError that says what is wrong
   */
  check?(state: NodeState): Promise<void>;
  /** Reads what the node has: the items with these names, and the items that this controller made. */
  observe(names: ReadonlySet<string>, limits: Limits): Promise<ReadonlyMap<string, Observed>>;
  /**
   * Reports whether an item that leaves the state would stay on the node, because something else needs it.
   * Absent: none stays.
   */
  stays?(name: string, state: NodeState, limits: Limits): Promise<boolean>;
  /** Makes one change. The call may be repeated after the process ended at any moment. */
  apply(change: Change, state: NodeState, limits: Limits): Promise<void>;
  /** Returns why the section does not work although it is in the desired state; empty: it works. */
  health?(limits: Limits): Promise<readonly string[]>;
}
