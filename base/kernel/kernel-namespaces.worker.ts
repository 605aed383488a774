import { closeOwnNamespaces } from './namespaces/namespaces.ts';
import { namespaceCalls } from './namespace-calls.ts';
import { serveCalls } from './worker-calls.ts';

serveCalls(namespaceCalls, closeOwnNamespaces);
