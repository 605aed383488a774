import { closeOwnNamespaces } from './namespaces.ts';
import { configureNamespaces, pinNamespaces, unpinNamespaces } from './pins.ts';
import { serveCalls } from './worker-calls.ts';

const calls = { pinNamespaces, configureNamespaces, unpinNamespaces };
export type NamespaceCalls = typeof calls;
serveCalls(calls, closeOwnNamespaces);
