import { fieldsOf, textOf } from '../../base/kubernetes/index.ts';

/** A RuntimeClass of the cluster (node.k8s.io/v1), as far as it counts here. */
export interface RuntimeClass {
  readonly name: string;
  readonly handler: string;
  /** Labels of the nodes that have the handler. Empty: all nodes. */
  readonly nodeSelector: Readonly<Record<string, string>>;
}

/** The differences between the cluster's RuntimeClasses and the node's handlers. */
export interface HandlerComparison {
  /** Classes that apply to this node and whose handler it does not have: their pods cannot start here. */
  readonly withoutHandler: readonly RuntimeClass[];
  /** Handlers that no class names: no pod can select them. */
  readonly withoutClass: readonly string[];
}

/** Reads an object as the API sends it; undefined: it has no name or no handler. */
export function readRuntimeClass(object: unknown): RuntimeClass | undefined {
  const { metadata, handler, scheduling } = fieldsOf(object);
  const name = textOf(fieldsOf(metadata)['name']);
  if (name === '' || textOf(handler) === '') return undefined;
  const selector = Object.entries(fieldsOf(fieldsOf(scheduling)['nodeSelector']));
  return {
    ...{ name, handler: textOf(handler) },
    nodeSelector: Object.fromEntries(selector.map(([key, value]) => [key, textOf(value)])),
  };
}

/**
 * Compares RuntimeClasses with the handlers of a node. A class whose `scheduling.nodeSelector` does not match
 * the labels of the node does not apply to it (Kubernetes, "Runtime Class"). Pure.
 * @param handlers names of handlers that answer; the empty name is the default one
 * @param defaultHandler pods without a class use it
 */
export function compareHandlers(
  classes: readonly RuntimeClass[],
  handlers: ReadonlySet<string>,
  labels: Readonly<Record<string, string>>,
  defaultHandler: string,
): HandlerComparison {
  const applies = ({ nodeSelector }: RuntimeClass): boolean =>
    Object.entries(nodeSelector).every(([key, value]) => labels[key] === value);
  const named = new Set(classes.map(({ handler }) => handler));
  return {
    withoutHandler: classes
      .filter((one) => applies(one) && !handlers.has(one.handler))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    withoutClass: [...handlers]
      .filter((name) => name !== '' && name !== defaultHandler && !named.has(name))
      .sort(),
  };
}
