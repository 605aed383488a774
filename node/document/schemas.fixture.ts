import type { JsonSchema } from '../../base/schema/index.ts';
import { createCriClient } from '../../runtime/client.ts';
import { nodeControllers } from '../controllers/registry.ts';
import type { Controller } from '../model/types.ts';
import { nodeGroupSchema, nodeStateSchema } from './schema.ts';

/** The real controllers, for a daemon that does not run. */
export const testControllers = (folder = '/nonexistent'): readonly Controller[] =>
  nodeControllers({
    daemon: { cri: createCriClient(`${folder}/cri.sock`), adminSocket: `${folder}/admin.sock` },
    networks: {
      databasePath: `${folder}/network.db`,
      confDir: `${folder}/net.d`,
      choice: { plugins: 'auto', maxConfigs: 1 },
    },
    policyFolder: `${folder}/policy`,
    podLogs: `${folder}/logs`,
    loadPolicy: () => Promise.reject(new Error('no policy is loaded here')),
  });

/** The schemas that `docs/schemas` publishes, by the names of their files. */
export const nodeSchemas = (): Readonly<Record<string, JsonSchema>> => ({
  'node-state': nodeStateSchema(testControllers()),
  'node-group': nodeGroupSchema(testControllers()),
});
