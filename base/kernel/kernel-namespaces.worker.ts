import { closeOwnNamespaces } from './namespaces.ts';
import { configureNamespaces, pinNamespaces, pinNamespacesOf, unpinNamespaces } from './pins.ts';
import { serveCalls } from './worker-calls.ts';

const calls = { pinNamespaces, pinNamespacesOf, configureNamespaces, unpinNamespaces };
export type NamespaceCalls = typeof calls;
serveCalls(calls, closeOwnNamespaces);
