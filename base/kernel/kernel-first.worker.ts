import { closeOwnNamespaces } from './namespaces/namespaces.ts';
import { mountCalls } from './mount-calls.ts';
import { namespaceCalls } from './namespace-calls.ts';
import { programCalls } from './program-calls.ts';
import { serveCalls } from './worker-calls.ts';

// Serves everything that a start needs.
serveCalls({ ...mountCalls, ...namespaceCalls, ...programCalls }, closeOwnNamespaces);
