import { createInterface } from 'node:readline';
import { startScriptedApi } from '../../cni-plugins/policy/cluster/api.fixture.ts';
import type { Path } from '../../cni-plugins/policy/cluster/api.fixture.ts';

/**
 * An API server in the network namespace of this process. Each line of the standard input is a JSON list: an
 * act, a collection and an object. Argument: the kubeconfig that it writes.
 */
type Act = readonly ['put' | 'remove', Path, object];

const api = await startScriptedApi();
api.kubeconfig(process.argv[2] ?? '');
for await (const line of createInterface({ input: process.stdin })) {
  const [act, path, object] = JSON.parse(line) as Act;
  api[act](path, object);
}
await api.stop();
