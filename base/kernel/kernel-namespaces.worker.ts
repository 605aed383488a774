import { closeOwnNamespaces } from './namespaces.ts';
import { configureNamespaces, pinNamespaces, pinNamespacesOf, unpinNamespaces } from './pins.ts';
import { readNetFiles } from './net-files.ts';
import { serveCalls } from './worker-calls.ts';

const calls = { pinNamespaces, pinNamespacesOf, configureNamespaces, unpinNamespaces, readNetFiles };
export type NamespaceCalls = typeof calls;
serveCalls(calls, closeOwnNamespaces);
