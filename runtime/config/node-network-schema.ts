import type { ConfigSchema } from './config-schema.ts';
import { fileOrderSchema, nodeNameSchema } from './shared-fields.ts';

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;

/** The key `network.pods` of `config.yaml`. */
export const nodeNetworkSchema: ConfigSchema = {
  type: 'object',
  description:
    'Network of the pods of a Kubernetes node whose subnet the cluster assigns. The daemon writes the configuration of the network into `cni.confDir`, and routes to the pods of the other nodes. If omitted, the files in `cni.confDir` define the network.',
  additionalProperties: false,
  required: ['from', 'ranges'],
  properties: {
    from: {
      type: 'string',
      enum: ['node', 'runtimeConfig'],
      description:
        'Where this node’s subnet comes from. `node`: `spec.podCIDRs` of the Node object, read through `kubeconfig`. `runtimeConfig`: the kubelet, which sends it by UpdateRuntimeConfig.',
    },
    ranges: {
      type: 'array',
      items: { type: 'string', minLength: 4, maxLength: 49 },
      minItems: 1,
      maxItems: 8,
      description:
        'Prefixes from which the cluster assigns the pod subnets of all nodes (`--cluster-cidr` of kube-controller-manager), such as `10.244.0.0/16`. A Node object gets no route to addresses outside of them. Packets of pods that leave them get the address of the node.',
    },
    kubeconfig: {
      ...path,
      description:
        'Kubeconfig file for the cluster’s API. The file, and the files that it names, are read again for each request. Its user must be allowed to get, list and watch nodes. Required with `from: node`. If omitted, there are no routes to other nodes.',
    },
    nodeName: nodeNameSchema,
    routes: {
      type: 'boolean',
      description:
        'Whether the daemon adds a route to the pod subnet of each other node on the same network segment. The routes in `ranges` then belong to the daemon: it removes others. Turn it off if another program adds routes between the nodes.',
      default: true,
    },
    name: {
      type: 'string',
      pattern: '^[a-z0-9][a-z0-9-]{0,31}$',
      description: 'Name of the network.',
      default: 'pods',
    },
    order: fileOrderSchema,
  },
};
