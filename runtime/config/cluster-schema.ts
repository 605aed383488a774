import type { ConfigSchema } from './config-schema.ts';
import { kubeconfigSchema, nodeNameSchema } from './shared-fields.ts';

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;

/** The key `cluster` of `config.yaml`. It exists only when it is written. */
export const clusterSchema: ConfigSchema = {
  type: 'object',
  description:
    'Kubernetes cluster whose objects this node follows, and to which it reports. An empty object uses the connection of `network.kubernetes`, or else the service account of the pod that the daemon runs in. See docs/cluster-policy.md.',
  // Absent unless it is written: an object without values would connect to a cluster.
  required: [],
  additionalProperties: false,
  properties: {
    kubeconfig: kubeconfigSchema(
      'Kubeconfig file for the cluster’s API, such as `/etc/kubernetes/kubelet.conf`. The file, and the files that it names, are read again for each request. If omitted, that of `network.kubernetes` is used.',
    ),
    servers: {
      type: 'array',
      items: { type: 'string', minLength: 8, maxLength: 253 },
      maxItems: 16,
      description:
        'Addresses of the API servers, such as `https://192.0.2.10:6443`, in place of the address that the kubeconfig or the environment of the pod names. They are tried in turn.',
      default: [],
    },
    nodeName: nodeNameSchema,
    policies: {
      type: 'boolean',
      description:
        'Whether the TrustPolicy and EntitlementProfile objects of the cluster are the policy of this node, in place of the files of `policy`. A node has only one policy: it refuses a configuration that also contains `policy` or `policySubscription`.',
      default: false,
    },
    policyFiles: {
      ...path,
      description:
        'Folder with the keys and other files that the objects name by relative paths. It is read again every 30 seconds. Only with `policies`.',
    },
    policyStatus: {
      type: 'boolean',
      description:
        'Whether the node writes into the status of the objects whether they are valid and in force, if the status does not say so already. Only with `policies`.',
      default: true,
    },
    reports: {
      type: 'boolean',
      description:
        'Whether the node reports images out of policy and RuntimeClasses without a handler as conditions of its Node object, and pods with images out of policy as events.',
      default: true,
    },
  },
};
