import { configureNamespaces, pinNamespaces, pinNamespacesOf, unpinNamespaces } from './namespaces/pins.ts';
import { readNetFiles } from './namespaces/net-files.ts';

export const namespaceCalls = {
  pinNamespaces,
  pinNamespacesOf,
  configureNamespaces,
  unpinNamespaces,
  readNetFiles,
};
export type NamespaceCalls = typeof namespaceCalls;
