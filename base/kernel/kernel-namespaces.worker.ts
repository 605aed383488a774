import { closeOwnNamespaces } from './namespaces/namespaces.ts';
import { configureNamespaces, pinNamespaces, pinNamespacesOf, unpinNamespaces } from './namespaces/pins.ts';
import { readNetFiles } from './namespaces/net-files.ts';
import { serveCalls } from './worker-calls.ts';

const calls = { pinNamespaces, pinNamespacesOf, configureNamespaces, unpinNamespaces, readNetFiles };
export type NamespaceCalls = typeof calls;
serveCalls(calls, closeOwnNamespaces);
